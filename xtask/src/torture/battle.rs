//! The nemesis' blows, dealt to a herd and undone again.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::ensure;
use serde::Serialize;
use tokio::time::{Instant, sleep, sleep_until};

use super::nemesis::{Blow, Nemesis};
use crate::herd::Herd;
use crate::proxy::{Condition, Counts};
use crate::report::say;

/// How long the kernel may take to stop a process.
const STOP_LIMIT: Duration = Duration::from_secs(1);

/// How often to ask whether it has.
const STOP_POLL: Duration = Duration::from_millis(1);

/// How often to look for processes that ended by themselves.
const LOOK: Duration = Duration::from_millis(250);

/// What was done. A blow counts when its effect was seen: a process that died of signal 9, one
/// that the kernel calls stopped, a link that was changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Dealt {
    /// Single nodes killed.
    pub kills: usize,
    /// Times that all nodes were killed at once.
    pub kill_alls: usize,
    /// Nodes stopped.
    pub stops: usize,
    /// Links made bad.
    pub cuts: usize,
    /// Blows that found nothing left to hit.
    pub missed: usize,
    /// What the bad links did.
    pub links: Counts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Up,
    Stopped,
    Away,
}

/// A herd under attack.
#[derive(Debug)]
pub(crate) struct Battle {
    herd: Herd,
    started: Instant,
    nodes: Vec<Standing>,
    bad_links: Vec<bool>,
    /// What ends when; the number keeps entries of one moment apart.
    endings: BTreeMap<(Instant, u64), Ending>,
    scheduled: u64,
    dealt: Dealt,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Start(usize),
    Resume(usize),
    Heal(usize),
}

impl Battle {
    /// All nodes of `herd` run, and all links are open.
    pub(crate) fn new(herd: Herd) -> Self {
        let (nodes, links) = (herd.len(), herd.links().len());
        Self {
            herd,
            started: Instant::now(),
            nodes: vec![Standing::Up; nodes],
            bad_links: vec![false; links],
            endings: BTreeMap::new(),
            scheduled: 0,
            dealt: Dealt::default(),
        }
    }

    /// Deals blows for so long.
    pub(crate) async fn rage(
        &mut self,
        nemesis: &mut Nemesis,
        lasts: Duration,
    ) -> anyhow::Result<()> {
        let end = Instant::now() + lasts;
        let mut next = nemesis.next().map(|(pause, blow)| (Instant::now() + pause, blow));
        while Instant::now() < end {
            let blow_at = next.as_ref().map_or(end, |(at, _)| *at);
            let ending_at = self.endings.keys().next().map_or(end, |(at, _)| *at);
            let look_at = Instant::now() + LOOK;
            sleep_until(blow_at.min(ending_at).min(look_at).min(end)).await;
            self.herd.check_alive()?;
            self.end_what_is_due(Instant::now())?;
            if let Some((_, blow)) = next.take_if(|(at, _)| *at <= Instant::now()) {
                self.deal(blow).await?;
                next = nemesis.next().map(|(pause, blow)| (Instant::now() + pause, blow));
            }
        }
        Ok(())
    }

    /// Ends all that is wrong: nodes start and go on, links heal.
    pub(crate) fn make_peace(&mut self) -> anyhow::Result<()> {
        for ending in std::mem::take(&mut self.endings).into_values() {
            self.end(ending)?;
        }
        Ok(())
    }

    /// What was done so far.
    pub(crate) fn dealt(&self) -> Dealt {
        let mut dealt = self.dealt;
        for link in self.herd.links() {
            dealt.links += link.counts();
        }
        dealt
    }

    /// The herd.
    pub(crate) fn herd(&mut self) -> &mut Herd {
        &mut self.herd
    }

    /// Keeps the herd's files when something went wrong; returns where they are.
    pub(crate) fn keep_files(&mut self) -> String {
        self.herd.keep_files();
        self.herd.directory().display().to_string()
    }

    async fn deal(&mut self, blow: Blow) -> anyhow::Result<()> {
        match blow {
            Blow::Kill { node, away } => match self.victim(node, |node| node != Standing::Away) {
                Some(node) => {
                    self.kill(node, away).await?;
                    self.dealt.kills += 1;
                    self.tell(format_args!("kill {}, back after {away:.1?}", self.herd.name(node)));
                }
                None => self.dealt.missed += 1,
            },
            Blow::KillAll { away } => {
                let alive =
                    |(node, away)| (self.nodes[node] != Standing::Away).then_some((node, away));
                let victims: Vec<_> = away.into_iter().enumerate().filter_map(alive).collect();
                for (node, away) in victims {
                    self.kill(node, away).await?;
                }
                self.dealt.kill_alls += 1;
                self.tell("kill all");
            }
            Blow::Stop { node, lasts } => match self.victim(node, |node| node == Standing::Up) {
                Some(node) => {
                    self.stop(node, lasts).await?;
                    self.tell(format_args!("stop {} for {lasts:.1?}", self.herd.name(node)));
                }
                None => self.dealt.missed += 1,
            },
            Blow::Cut { link, condition, lasts } => self.cut(link, condition, lasts),
        }
        Ok(())
    }

    /// The node meant, or the next one that `fits`.
    fn victim(&self, node: usize, fits: impl Fn(Standing) -> bool) -> Option<usize> {
        let count = self.nodes.len();
        (node..node + count).map(|node| node % count).find(|node| fits(self.nodes[*node]))
    }

    async fn kill(&mut self, node: usize, away: Duration) -> anyhow::Result<()> {
        self.herd.kill(node).await?;
        self.nodes[node] = Standing::Away;
        self.endings.retain(|_, ending| *ending != Ending::Resume(node));
        self.later(away, Ending::Start(node));
        Ok(())
    }

    async fn stop(&mut self, node: usize, lasts: Duration) -> anyhow::Result<()> {
        self.herd.stop(node)?;
        let deadline = Instant::now() + STOP_LIMIT;
        while !self.herd.is_stopped(node)? {
            ensure!(Instant::now() < deadline, "{} does not stop", self.herd.name(node));
            sleep(STOP_POLL).await;
        }
        self.dealt.stops += 1;
        self.nodes[node] = Standing::Stopped;
        self.later(lasts, Ending::Resume(node));
        Ok(())
    }

    fn cut(&mut self, link: usize, condition: Condition, lasts: Duration) {
        let count = self.bad_links.len();
        let link =
            (link..link + count).map(|link| link % count).find(|link| !self.bad_links[*link]);
        let Some(link) = link else {
            self.dealt.missed += 1;
            return;
        };
        if let Some(proxy) = self.herd.links().nth(link) {
            proxy.set(condition);
        }
        self.bad_links[link] = true;
        self.dealt.cuts += 1;
        self.later(lasts, Ending::Heal(link));
        self.tell(format_args!("{condition:?} {} for {lasts:.1?}", self.herd.link_name(link)));
    }

    fn later(&mut self, wait: Duration, ending: Ending) {
        self.scheduled += 1;
        self.endings.insert((Instant::now() + wait, self.scheduled), ending);
    }

    fn end_what_is_due(&mut self, now: Instant) -> anyhow::Result<()> {
        while let Some(entry) = self.endings.first_entry()
            && entry.key().0 <= now
        {
            let ending = entry.remove();
            self.end(ending)?;
        }
        Ok(())
    }

    fn end(&mut self, ending: Ending) -> anyhow::Result<()> {
        match ending {
            Ending::Start(node) => {
                self.herd.start(node)?;
                self.nodes[node] = Standing::Up;
            }
            Ending::Resume(node) => {
                self.herd.resume(node)?;
                self.nodes[node] = Standing::Up;
            }
            Ending::Heal(link) => {
                if let Some(proxy) = self.herd.links().nth(link) {
                    proxy.set(Condition::Open);
                }
                self.bad_links[link] = false;
            }
        }
        Ok(())
    }

    fn tell(&self, what: impl std::fmt::Display) {
        say(format_args!("{:7.1} s  {what}", self.started.elapsed().as_secs_f64()));
    }
}
