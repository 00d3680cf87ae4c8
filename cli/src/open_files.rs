//! How many files (connections, that is) the process may have open.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Files beside connections: objects, the journal, the log.
const OTHERS: u64 = 500;

/// Raises the soft limit to the hard one: shells and services often start with 1,024, which a broker's
/// connections use up. Warns where even the hard limit is too low for `connections`.
pub(crate) fn raise(connections: usize) {
    let mut limit = getrlimit(Resource::Nofile);
    let hard = limit.maximum;
    limit.current = hard;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
    let now = getrlimit(Resource::Nofile).current;
    let wanted = u64::try_from(connections)
        .unwrap_or(u64::MAX)
        .saturating_add(OTHERS);
    if let Some(now) = now
        && now < wanted
    {
        tracing::warn!(
            open_files_max = now,
            connections_max = connections,
            "fewer files may be open than connections are allowed: raise ulimit -n (LimitNOFILE of a \
             service), or lower --connections-max"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        raise(1);
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
