//! What goes wrong, and how often.

use std::{collections::BTreeSet, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    operation::{Call, Operation},
    random::Random,
};

/// What goes wrong. Probabilities are per request, from 0 to 1, of those that `operations` and `key_prefix` leave;
/// hanging puts, late writes and denied actions look at neither. The default is that nothing goes wrong. In JSON every
/// field may be left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Only these operations; empty = all of them.
    pub operations: BTreeSet<Operation>,
    /// Only keys that begin with this; empty = all, and requests without a key.
    pub key_prefix: String,
    /// 500 InternalError. In half of the cases the request was carried out all the same, as S3's
    /// documentation does not rule out.
    pub error: f64,
    /// 503 SlowDown; never carried out.
    pub slow_down: f64,
    /// 409 ConditionalRequestConflict for a conditional put; not carried out.
    pub conflict: f64,
    /// Carried out, but the connection is closed instead of an answer.
    pub lost_reply: f64,
    /// The body of a GET ends early and the connection is closed.
    pub torn_body: f64,
    /// One bit of a GET's body is wrong, and nothing says so.
    pub flipped_bit: f64,
    /// The request waits for `stall_ms` before anything happens.
    pub stall: f64,
    /// How long a stall is.
    pub stall_ms: u64,
    /// So many of the next PutObject requests, whatever their keys, hang for `hang_ms` before anything happens;
    /// each one counts this down. They are carried out in the end, even if the client has gone.
    pub hang_puts: u32,
    /// How long they hang.
    pub hang_ms: u64,
    /// Whatever is written shows to reads and listings only after so long (conditional puts see it, and everybody
    /// sees a delete, at once). S3 does not do this; some servers promise less.
    pub late_ms: u64,
    /// Actions (`s3:PutObject`, ...) that the credentials have no right to, whatever the key: 403 AccessDenied.
    pub deny: BTreeSet<String>,
}

/// A fault that happened to a request, by the name of what it is set by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// See [`Faults::error`].
    Error,
    /// See [`Faults::slow_down`].
    SlowDown,
    /// See [`Faults::conflict`].
    Conflict,
    /// See [`Faults::lost_reply`].
    LostReply,
    /// See [`Faults::torn_body`].
    TornBody,
    /// See [`Faults::flipped_bit`].
    FlippedBit,
    /// See [`Faults::stall`].
    Stall,
    /// See [`Faults::hang_puts`].
    HangPuts,
    /// See [`Faults::deny`].
    Deny,
}

/// How a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Good,
    Denied,
    SlowDown,
    Conflict,
    Error { done: bool },
    LostReply,
    Torn,
    Flipped,
}

impl Fate {
    /// The fault that an answer shows. One that has no body cannot be damaged.
    pub(crate) fn fault(self, has_body: bool) -> Option<Fault> {
        match self {
            Self::Good => None,
            Self::Denied => Some(Fault::Deny),
            Self::SlowDown => Some(Fault::SlowDown),
            Self::Conflict => Some(Fault::Conflict),
            Self::Error { .. } => Some(Fault::Error),
            Self::LostReply => Some(Fault::LostReply),
            Self::Torn => has_body.then_some(Fault::TornBody),
            Self::Flipped => has_body.then_some(Fault::FlippedBit),
        }
    }
}

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) fate: Fate,
    /// What it waits for before anything happens.
    pub(crate) hang: Duration,
    pub(crate) stall: Duration,
}

impl Faults {
    /// Decides about one request; counts hanging puts down.
    pub(crate) fn plan(&mut self, call: &Call, random: &mut Random) -> Plan {
        let mut plan = Plan {
            fate: Fate::Good,
            hang: Duration::ZERO,
            stall: Duration::ZERO,
        };
        if call.operation == Operation::Put && self.hang_puts > 0 {
            self.hang_puts -= 1;
            plan.hang = Duration::from_millis(self.hang_ms);
        }
        let concerned = self.operations.is_empty() || self.operations.contains(&call.operation);
        if self.deny.contains(call.action) {
            plan.fate = Fate::Denied;
        } else if concerned && call.key.starts_with(&self.key_prefix) {
            if random.chance(self.stall) {
                plan.stall = Duration::from_millis(self.stall_ms);
            }
            plan.fate = self.fate(call, random);
        }
        plan
    }

    fn fate(&self, call: &Call, random: &mut Random) -> Fate {
        let reads = call.operation == Operation::Get;
        if random.chance(self.slow_down) {
            Fate::SlowDown
        } else if random.chance(self.error) {
            let done = random.chance(0.5);
            Fate::Error { done }
        } else if call.conditional && random.chance(self.conflict) {
            Fate::Conflict
        } else if random.chance(self.lost_reply) {
            Fate::LostReply
        } else if reads && random.chance(self.torn_body) {
            Fate::Torn
        } else if reads && random.chance(self.flipped_bit) {
            Fate::Flipped
        } else {
            Fate::Good
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(operation: Operation, key: &str, conditional: bool) -> Call {
        Call {
            operation,
            key: key.to_owned(),
            conditional,
            action: "s3:PutObject",
            bytes: 0,
        }
    }

    fn fate(faults: &Faults, call: &Call) -> Fate {
        faults.clone().plan(call, &mut Random::new(1)).fate
    }

    #[test]
    fn faults_happen_only_where_they_belong() {
        let put = call(Operation::Put, "data/x", true);
        let plain = call(Operation::Put, "data/x", false);
        let get = call(Operation::Get, "data/x", false);
        let conflict = Faults {
            conflict: 1.0,
            ..Faults::default()
        };
        assert_eq!(fate(&conflict, &put), Fate::Conflict);
        assert_eq!(fate(&conflict, &plain), Fate::Good);
        let torn = Faults {
            torn_body: 1.0,
            ..Faults::default()
        };
        assert_eq!(fate(&torn, &get), Fate::Torn);
        assert_eq!(fate(&torn, &put), Fate::Good);
        let mut slow = Faults {
            slow_down: 1.0,
            operations: [Operation::Get].into(),
            ..Faults::default()
        };
        assert_eq!(fate(&slow, &get), Fate::SlowDown);
        assert_eq!(fate(&slow, &put), Fate::Good);
        slow.key_prefix = "data/y".to_owned();
        assert_eq!(fate(&slow, &get), Fate::Good);
        let denied = Faults {
            deny: ["s3:PutObject".to_owned()].into(),
            ..slow
        };
        assert_eq!(fate(&denied, &put), Fate::Denied);
    }

    #[test]
    fn only_so_many_puts_hang() {
        let mut faults = Faults {
            hang_puts: 2,
            hang_ms: 50,
            ..Faults::default()
        };
        let mut random = Random::new(1);
        let mut wait = |operation| {
            let call = call(operation, "k", false);
            faults.plan(&call, &mut random).hang.as_millis()
        };
        let waits = [
            wait(Operation::Get),
            wait(Operation::Put),
            wait(Operation::Delete),
            wait(Operation::Put),
            wait(Operation::Put),
        ];
        assert_eq!(waits, [0, 50, 0, 50, 0]);
    }

    #[test]
    fn probabilities_are_what_they_say() {
        let faults = Faults {
            error: 0.05,
            slow_down: 0.1,
            ..Faults::default()
        };
        let mut random = Random::new(3);
        let get = call(Operation::Get, "k", false);
        let (mut errors, mut done, mut slow) = (0, 0, 0);
        for _ in 0..20_000 {
            match faults.clone().plan(&get, &mut random).fate {
                Fate::Error { done: was } => {
                    errors += 1;
                    done += i32::from(was);
                }
                Fate::SlowDown => slow += 1,
                fate => assert_eq!(fate, Fate::Good),
            }
        }
        assert!((1_850..2_150).contains(&slow), "{slow}");
        assert!((800..1_000).contains(&errors), "{errors}");
        assert!((350..550).contains(&done), "{done}");
    }
}
