//! What acknowledgements waited for, by the agents' own histograms.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use anyhow::{Context, Result, bail};

/// The stages of a Produce request in an agent, in their order.
const STAGES: [&str; 6] = ["buffer", "build", "put", "order_wait", "commit", "ack"];
const PATIENCE: Duration = Duration::from_secs(5);

/// Sum and count of each stage's histogram.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shares(BTreeMap<&'static str, (f64, f64)>);

impl Shares {
    /// Reads and adds up the metrics of all `addresses`.
    pub(crate) fn read(addresses: &[String]) -> Result<Self> {
        let mut all = Self::default();
        for address in addresses {
            let text = get(address).with_context(|| format!("cannot read metrics of {address}"))?;
            all.add(&text);
        }
        Ok(all)
    }

    fn add(&mut self, text: &str) {
        for stage in STAGES {
            let name = format!("aquifer_produce_{stage}_seconds");
            let total = self.0.entry(stage).or_default();
            total.0 += sum_of(text, &name, "_sum");
            total.1 += sum_of(text, &name, "_count");
        }
    }

    /// Mean milliseconds per stage since `before`.
    pub(crate) fn since(&self, before: &Self) -> BTreeMap<&'static str, f64> {
        let means = self.0.iter().filter_map(|(stage, (sum, count))| {
            let (sum_before, count_before) = before.0.get(stage).copied().unwrap_or_default();
            let new = count - count_before;
            (new > 0.0).then(|| (*stage, (sum - sum_before) / new * 1e3))
        });
        means.collect()
    }
}

/// The sum over all labels of a sample in Prometheus text.
fn sum_of(text: &str, name: &str, suffix: &str) -> f64 {
    let of_sample = |line: &str| {
        let rest = line.strip_prefix(name)?.strip_prefix(suffix)?;
        if !rest.starts_with([' ', '{']) {
            return None;
        }
        rest.rsplit(' ').next()?.parse::<f64>().ok()
    };
    text.lines().filter_map(of_sample).sum()
}

fn get(address: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET /metrics HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.contains(" 200 ") => Ok(body.to_owned()),
        _ => bail!(
            "it answers {:?}",
            answer.lines().next().unwrap_or("nothing")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_are_of_what_came_between() {
        let text = |sum: f64, count: u32| {
            format!(
                "# HELP x\naquifer_produce_put_seconds_sum {sum}\naquifer_produce_put_seconds_count {count}\n\
                 aquifer_produce_put_seconds_summary 9\naquifer_produce_put_seconds_bucket{{le=\"1\"}} 4\n"
            )
        };
        let (mut before, mut after) = (Shares::default(), Shares::default());
        before.add(&text(1.0, 10));
        after.add(&text(1.0, 10));
        assert!(after.since(&before).is_empty());
        after = Shares::default();
        after.add(&text(2.0, 15));
        let means = after.since(&before);
        assert!((means["put"] - 200.0).abs() < 1e-6, "{means:?}");
        assert_eq!(means.len(), 1);
    }
}
