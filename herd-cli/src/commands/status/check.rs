//! The status in one line and one exit code, as Nagios and its kin take it.

use serde::Serialize;

use super::{DOWN, Herd, NOT_READY, REFUSED, StatusView};
use crate::exit_code::ExitCode;
use crate::output::{Answer, printable};

#[derive(Serialize)]
pub(super) struct Check {
    /// OK, WARNING or CRITICAL.
    state: &'static str,
    message: String,
    /// For graphs: name and value.
    figures: Vec<(&'static str, u64)>,
}

impl Check {
    pub(super) fn of(herd: &Herd) -> Self {
        let all = herd.nodes.len();
        let statuses = || herd.nodes.iter().filter_map(|node| node.status.as_ref());
        let in_state = |state| {
            let nodes = herd.nodes.iter().filter(move |node| node.state == state);
            nodes.map(|node| &*node.name).collect::<Vec<_>>()
        };
        let (down, refused) = (in_state(DOWN), in_state(REFUSED));
        let broken = statuses().flat_map(|status| &status.peers);
        let broken = broken.filter(|peer| peer.friend && !peer.up).count();
        let unready = in_state(NOT_READY).len();
        let troubles = statuses().map(|status| status.troubles().len()).sum::<usize>();
        let silent = [(&down, "down"), (&refused, "that refuse to tell")];
        let silent =
            silent.into_iter().filter(|(names, _)| !names.is_empty()).map(|(names, what)| {
                format!("{} of {all} nodes {what}: {}", names.len(), names.join(", "))
            });
        let silent = silent.collect::<Vec<_>>().join("; ");
        let (state, message) = if !silent.is_empty() {
            ("CRITICAL", silent)
        } else if broken > 0 {
            ("CRITICAL", format!("{broken} links between friends down"))
        } else if unready > 0 {
            ("WARNING", format!("{unready} of {all} nodes not ready"))
        } else if herd.digests_equal == Some(false) {
            ("WARNING", "nodes do not hold the same (yet)".into())
        } else if troubles > 0 {
            ("WARNING", format!("{troubles} troubles: see herd-cli status"))
        } else {
            ("OK", format!("{all} nodes up, all hold the same"))
        };
        let most = |of: fn(&StatusView) -> u64| statuses().map(of).max().unwrap_or(0);
        let figures = vec![
            ("nodes_up", herd.up as u64),
            ("nodes", all as u64),
            ("clients", most(|status| status.clients)),
            ("pending", most(|status| status.pending)),
        ];
        Self { state, message, figures }
    }

    pub(super) fn exit_code(&self) -> ExitCode {
        match self.state {
            "OK" => ExitCode::Success,
            "WARNING" => ExitCode::Failure,
            // 2, whatever it is called elsewhere.
            _ => ExitCode::Usage,
        }
    }
}

impl Answer for Check {
    const KIND: &'static str = "check";

    fn text(&self) -> String {
        let figures: Vec<_> =
            self.figures.iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!("HERD {} - {} | {}\n", self.state, printable(&self.message), figures.join(" "))
    }
}
