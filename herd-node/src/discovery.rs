//! Finds friends by DNS: asks again and again, and befriends whom
//! [`Membership`](crate::herd::membership::Membership) chooses. The herd grows and shrinks
//! without a restart.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use herd_proto::NodeName;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::dns::{Dns, NoAnswer};
use crate::herd::membership::{Answer, Membership};
use crate::link::Friends;
use crate::shared::Shared;

/// At first, until somebody else is named, DNS is asked this often: a new pod's name can take half a
/// minute to spread, and nobody should wait longer than that for it.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// How many of these looks there are: a minute's. A herd of one then asks at the usual pace.
const FIRST_LOOKS: u32 = 120;

/// How DNS has answered so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Discovered {
    /// Nodes of the herd that are known, this one included.
    pub(crate) members: usize,
    /// Answers that named this node.
    pub(crate) whole: u64,
    /// Answers that did not.
    pub(crate) partial: u64,
    /// Answers that named nobody.
    pub(crate) empty: u64,
    /// Questions without an answer.
    pub(crate) failed: u64,
    /// Why the last question has no usable answer; empty where it has.
    pub(crate) trouble: String,
}

/// Keeps the node's friends in step with DNS.
#[derive(Debug)]
pub(crate) struct Discovery {
    shared: Arc<Shared>,
    dns: Arc<Dns>,
    refresh: Duration,
    membership: Membership,
    friends: Friends,
    discovered: Arc<Mutex<Discovered>>,
}

/// What [`Discovery`] has found out, for whoever reports it.
#[derive(Debug, Clone)]
pub(crate) struct Findings(Arc<Mutex<Discovered>>);

impl Findings {
    /// As of now.
    pub(crate) fn now(&self) -> Discovered {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Discovery {
    /// Will ask `dns` each `refresh`.
    pub(crate) fn new(
        shared: &Arc<Shared>,
        dns: Arc<Dns>,
        refresh: Duration,
        friends: Friends,
    ) -> Self {
        let own = shared.with(|state, _| {
            state.await_friends(true);
            state.identity().name.clone()
        });
        let membership = Membership::new(own);
        let discovered = Arc::new(Mutex::new(Discovered { members: 1, ..Default::default() }));
        Self { shared: Arc::clone(shared), dns, refresh, membership, friends, discovered }
    }

    /// What is found out.
    pub(crate) fn findings(&self) -> Findings {
        Findings(Arc::clone(&self.discovered))
    }

    /// Asks for ever.
    ///
    /// # Cancel safety
    /// Dropping the future keeps the friends of the last answer.
    pub(crate) async fn run(mut self) {
        let mut look = 0_u32;
        loop {
            let answer = self.dns.nodes().await;
            self.take(answer);
            look = look.saturating_add(1);
            let is_early = look < FIRST_LOOKS && self.membership.is_alone();
            let pause = if is_early { FIRST_PAUSE.min(self.refresh) } else { self.refresh };
            // Nodes that were started at once shall not ask at once for ever.
            sleep(pause.mul_f64(rand::random_range(0.8..1.2))).await;
        }
    }

    fn take(&mut self, answer: Result<Vec<(NodeName, String)>, NoAnswer>) {
        let node = self.shared.with(|state, _| state.identity().name.clone());
        let named = match answer {
            Ok(named) => named,
            Err(no_answer) => return self.note_no_answer(&node, &no_answer),
        };
        let linked: Vec<_> = self.shared.with(|state, _| {
            let up = state.peers().iter().filter(|(_, peer)| peer.active.is_some());
            up.map(|(name, _)| name.clone()).collect()
        });
        let (answer, change) = self.membership.observe(named, |name| linked.contains(name));
        for friend in &change.part {
            info!(%node, peer = %friend, "no longer a friend");
            self.friends.part(friend);
        }
        for (friend, address) in &change.befriend {
            info!(%node, peer = %friend, %address, "a friend, by DNS");
            self.friends.befriend(friend, address);
        }
        self.shared.with(|state, _| state.await_friends(false));
        self.note(|discovered, members| {
            match answer {
                Answer::Whole => discovered.whole += 1,
                Answer::Partial => discovered.partial += 1,
            }
            discovered.members = members;
            discovered.trouble.clear();
        });
    }

    fn note_no_answer(&self, node: &NodeName, no_answer: &NoAnswer) {
        let before = Findings(Arc::clone(&self.discovered)).now().trouble;
        let trouble = match no_answer {
            NoAnswer::Empty => "names no node",
            NoAnswer::Failed(error) => error,
        };
        // Once for each trouble, not once a question.
        if before != trouble {
            warn!(%node, dns = ?self.dns, reason = trouble, "DNS is of no help, will keep asking");
        }
        self.note(|discovered, _| {
            match no_answer {
                NoAnswer::Empty => discovered.empty += 1,
                NoAnswer::Failed(_) => discovered.failed += 1,
            }
            trouble.clone_into(&mut discovered.trouble);
        });
    }

    fn note(&self, change: impl FnOnce(&mut Discovered, usize)) {
        let mut discovered = self.discovered.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut discovered, self.membership.count());
    }
}
