//! The schedule of one seed: who reports, what breaks, and what must hold.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use herd_node::herd::order;
use herd_proto::v1::locations_client::LocationsClient;
use herd_proto::v1::{Location, ReportRequest};
use herd_proto::{ClientId, LocationRecord, NodeName};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::{Channel, Endpoint};

use crate::herd::{EDGES, Herd, NODES, connect, host, url};

/// Faults in one schedule.
const STEPS: u32 = 6;

/// How long a fault lasts: less than the silence that ends a link, or more.
const FAULT: std::ops::Range<u64> = 500..8000;

/// How often the driver reports and looks at the nodes while a fault lasts.
const LOOK: Duration = Duration::from_millis(250);

/// How long a node may take to answer a report before the driver gives up.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long the herd may take to agree once the network is whole: a silence to be noticed (5 s),
/// a wait before dialling (1 s), a dial that was under way and hangs (2 s), and as much again.
const SETTLE: Duration = Duration::from_secs(16);

/// How often each thing really happened.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Links that ended because a partition silenced them.
    partitioned: u32,
    /// The same where only one direction was silenced.
    partitioned_one_way: u32,
    /// Links that ended while the network held all that was sent.
    held: u32,
    /// Links that lived through a hold.
    outlived: u32,
    /// Nodes that lost their memory.
    bounced: u32,
    /// Reports that were answered.
    reports: u32,
}

impl Faults {
    pub(crate) fn add(&mut self, other: &Self) {
        self.partitioned += other.partitioned;
        self.partitioned_one_way += other.partitioned_one_way;
        self.held += other.held;
        self.outlived += other.outlived;
        self.bounced += other.bounced;
        self.reports += other.reports;
    }

    pub(crate) fn check_each_happened(&self) {
        let Self { partitioned, partitioned_one_way, held, outlived, bounced, reports } = *self;
        let all = [partitioned, partitioned_one_way, held, outlived, bounced, reports];
        assert!(all.iter().all(|&count| count > 0), "{self:?}");
    }
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    Partition,
    OneWay,
    Hold,
    Bounce,
}

struct Driver {
    rng: StdRng,
    herd: Rc<Herd>,
    channels: [Option<Channel>; NODES],
    /// The greatest record of each client that was acknowledged and can still be asked for.
    greatest: BTreeMap<ClientId, LocationRecord>,
    /// What each node held when last looked at, by its instance: it must never go back.
    seen: [BTreeMap<ClientId, LocationRecord>; NODES],
}

/// Runs the schedule of one seed.
pub(crate) async fn drive(seed: u64, herd: Rc<Herd>) -> turmoil::Result {
    let mut driver = Driver {
        rng: StdRng::seed_from_u64(seed),
        herd,
        channels: Default::default(),
        greatest: BTreeMap::new(),
        seen: Default::default(),
    };
    driver.live_on(Duration::from_secs(1)).await;
    for _ in 0..STEPS {
        let time = Duration::from_millis(driver.rng.random_range(FAULT));
        let fault = match driver.rng.random_range(0..4) {
            0 => Fault::Partition,
            1 => Fault::OneWay,
            2 => Fault::Hold,
            _ => Fault::Bounce,
        };
        driver.suffer(fault, time).await;
        let rest = driver.rng.random_range(0..1500);
        driver.live_on(Duration::from_millis(rest)).await;
    }
    driver.check_agreement().await;
    Ok(())
}

impl Driver {
    async fn suffer(&mut self, fault: Fault, time: Duration) {
        let edge = EDGES[self.rng.random_range(0..EDGES.len())];
        let (a, b) = if self.rng.random() { edge } else { (edge.1, edge.0) };
        let (from, to) = (host(a), host(b));
        match fault {
            Fault::Bounce => return self.bounce(a).await,
            Fault::Partition => turmoil::partition(&*from, &*to),
            Fault::OneWay => turmoil::partition_oneway(&*from, &*to),
            Fault::Hold => turmoil::hold(&*from, &*to),
        }
        let was_up = self.is_up(a, b);
        self.live_on(time).await;
        let ended = u32::from(was_up && !self.is_up(a, b));
        match fault {
            Fault::Bounce => {}
            Fault::Partition => {
                turmoil::repair(&*from, &*to);
                self.herd.faults.borrow_mut().partitioned += ended;
            }
            Fault::OneWay => {
                turmoil::repair_oneway(&*from, &*to);
                self.herd.faults.borrow_mut().partitioned_one_way += ended;
            }
            Fault::Hold => {
                turmoil::release(&*from, &*to);
                self.herd.faults.borrow_mut().held += ended;
                let outlived = u32::from(was_up && self.is_up(a, b));
                self.herd.faults.borrow_mut().outlived += outlived;
            }
        }
    }

    /// Kills a node and waits until it is back. What only it knew is lost, and not asked for again.
    async fn bounce(&mut self, node: usize) {
        let others: Vec<_> = (0..NODES).filter(|&other| other != node).collect();
        let greatest = std::mem::take(&mut self.greatest);
        let known = |record: &LocationRecord| {
            let holds = |&&other: &&usize| {
                let held = self.held(other, &record.client);
                held.is_some_and(|held| order::compare(&held, record).is_ge())
            };
            others.iter().any(|other| holds(&other))
        };
        let kept = greatest.into_iter().filter(|(_, record)| known(record)).collect();
        self.greatest = kept;
        self.herd.bounce.set(Some(node));
        while self.herd.bounce.get().is_some() || self.herd.nodes.borrow()[node].is_none() {
            sleep(LOOK).await;
        }
        self.seen[node].clear();
        self.channels[node] = None;
        self.herd.faults.borrow_mut().bounced += 1;
    }

    async fn live_on(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            let node = self.rng.random_range(0..NODES);
            self.report(node).await;
            for node in 0..NODES {
                self.check_never_back(node);
            }
            sleep(LOOK).await;
        }
    }

    /// A client reports, with a time out of few, so that ties happen.
    async fn report(&mut self, node: usize) {
        let (client, second) = (self.rng.random_range(0..12), self.rng.random_range(0..60));
        let latitude = self.rng.random_range(10..90);
        let request = ReportRequest {
            client_id: format!("c{client}").into(),
            position_text: format!("+{latitude}.5-118.25").into(),
            time_text: format!("{}", 1_700_000_000 + second).into(),
            ..ReportRequest::default()
        };
        let Ok(Some(location)) = timeout(PATIENCE, self.call(node, request)).await else {
            self.channels[node] = None;
            return;
        };
        let record = LocationRecord::try_from(location).unwrap();
        self.herd.faults.borrow_mut().reports += 1;
        match self.greatest.get(&record.client) {
            Some(greatest) if order::compare(greatest, &record).is_ge() => {}
            _ => drop(self.greatest.insert(record.client.clone(), record)),
        }
    }

    async fn call(&mut self, node: usize, request: ReportRequest) -> Option<Location> {
        let channel = if let Some(channel) = &self.channels[node] {
            channel.clone()
        } else {
            let name = NodeName::parse(&host(node)).ok()?;
            connect()(name, Endpoint::from_shared(url(node)).ok()?).await.ok()?
        };
        self.channels[node] = Some(channel.clone());
        LocationsClient::new(channel).report(request).await.ok()?.into_inner().location
    }

    fn held(&self, node: usize, client: &ClientId) -> Option<LocationRecord> {
        let nodes = self.herd.nodes.borrow();
        nodes[node].as_ref()?.with(|state, _| state.location(client).cloned())
    }

    fn is_up(&self, node: usize, other: usize) -> bool {
        let nodes = self.herd.nodes.borrow();
        let is_active = |shared: &std::sync::Arc<herd_node::shared::Shared>| {
            shared.with(|state, _| {
                let mut peers = state.peers().iter();
                peers.any(|(name, peer)| name.as_str() == host(other) && peer.active.is_some())
            })
        };
        nodes[node].as_ref().is_some_and(is_active)
    }

    fn check_never_back(&mut self, node: usize) {
        for client in 0..12 {
            let client = ClientId::parse(&format!("c{client}")).unwrap();
            let held = self.held(node, &client);
            if let Some(before) = self.seen[node].get(&client) {
                let is_later = |held: &LocationRecord| order::compare(held, before).is_ge();
                assert!(held.as_ref().is_some_and(is_later), "{client} went back at {node}");
            }
            if let Some(held) = held {
                self.seen[node].insert(client, held);
            }
        }
    }

    /// What must hold once the network is whole: all agree, and on the greatest.
    async fn check_agreement(&self) {
        let deadline = Instant::now() + SETTLE;
        while let Some(problem) = self.disagreement() {
            assert!(Instant::now() < deadline, "{problem}");
            sleep(LOOK).await;
        }
    }

    fn disagreement(&self) -> Option<String> {
        let nodes = self.herd.nodes.borrow();
        let mut digests = Vec::new();
        for shared in nodes.iter() {
            let Some(shared) = shared else { return Some("a node is down".into()) };
            digests.push(shared.with(|state, _| state.table().digest()));
            let divergent = |shared: &herd_node::shared::Shared| {
                shared.with(|state, _| -> u64 {
                    state.peers().iter().map(|(_, peer)| peer.counts.divergent).sum()
                })
            };
            assert_eq!(divergent(shared), 0);
        }
        if digests.iter().any(|digest| *digest != digests[0]) {
            return Some(format!("digests differ: {digests:x?}"));
        }
        let lost = self.greatest.iter().find(|(client, record)| {
            self.held(0, client).is_none_or(|held| order::compare(&held, record).is_lt())
        });
        lost.map(|(client, record)| format!("{client} was acknowledged and is lost: {record:?}"))
    }
}
