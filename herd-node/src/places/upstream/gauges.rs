//! What a scrape reads off a provider. It changes with the clock too, and not only when somebody
//! asks, so nobody keeps it up to date in between.

use std::fmt;
use std::sync::Arc;

use herd_admin::Sampler;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::breaker::Standing;
use super::fetcher::Fetcher;

#[derive(Debug)]
pub(super) struct Gauges(pub(super) Arc<Fetcher>);

impl Collector for Gauges {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Self(fetcher) = self;
        let mut to = Sampler::new(encoder);
        let provider = ("provider", fetcher.name());
        let standing = fetcher.standing();
        let states = [
            ("closed", Standing::Closed),
            ("half_open", Standing::HalfOpen),
            ("open", Standing::Open),
        ];
        let states = states.map(|(label, state)| {
            ([provider, ("state", label)], f64::from(u8::from(state == standing)))
        });
        let help =
            "1 for the state that the provider's circuit breaker is in: closed, half_open or open";
        to.gauges("herd_places_breaker_state", help, states)?;
        let help = "Questions that are with the provider, or about to be asked again";
        to.gauges("herd_places_in_flight", help, [([provider], fetcher.in_flight() as f64)])?;
        let Some(left) = fetcher.quota_left() else { return Ok(()) };
        let help = "Requests that the operator's daily quota still allows today";
        to.gauges("herd_places_quota_left", help, [([provider], left as f64)])
    }
}
