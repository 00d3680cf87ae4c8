//! Members of groups in the simulation, one classic group and one of the consumer protocol: they join, commit ever
//! higher offsets of the partitions that they have, now and then leave, and go on whatever happens. No partition has two
//! owners in a generation, no offset goes back, and once it is calm both groups are stable.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use kafka_protocol::messages::{JoinGroupRequest, OffsetFetchRequest, OffsetFetchResponse};

use super::{
    client::Link,
    world::{TOPIC, World},
};
use crate::groups::{Classic, Modern, assigned, code, commit, offset_fetch, share};

/// Members of each group.
pub(super) const MEMBERS: usize = 2;
/// Sessions and rebalances of classic members.
const TIMEOUT_MS: i32 = 10_000;
/// A group that is calm gets stable within a session of a member that is gone (45 s of the consumer protocol's), and
/// some rebalances.
const SETTLES: Duration = Duration::from_secs(100);

/// What all members were told.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// Who has a partition in a generation of the classic group.
    owners: BTreeMap<(i32, i32), String>,
    /// What members have now, with their generation or epoch, by group.
    has: BTreeMap<&'static str, BTreeMap<String, (i32, BTreeSet<i32>)>>,
    /// Offsets whose commit was acknowledged, by group and partition.
    committed: BTreeMap<(&'static str, i32), i64>,
    /// Commits that were acknowledged.
    pub(super) commits: usize,
}

impl Groups {
    /// A member has these from now on; what is wrong with that.
    fn note(
        &mut self,
        group: &'static str,
        id: &str,
        epoch: i32,
        has: &BTreeSet<i32>,
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        if group == "classic" {
            for partition in has {
                let before = self.owners.insert((epoch, *partition), id.to_owned());
                if let Some(before) = before.filter(|before| before != id) {
                    wrong.push(format!(
                        "shared: {partition} is {before}'s and {id}'s in generation {epoch}"
                    ));
                }
            }
        }
        let group = self.has.entry(group).or_default();
        group.insert(id.to_owned(), (epoch, has.clone()));
        wrong
    }

    fn gone(&mut self, group: &'static str, id: &str) {
        if let Some(group) = self.has.get_mut(group) {
            group.remove(id);
        }
    }

    /// Whether all members of a group are there, in one generation, and have everything once.
    fn is_settled(&self, group: &str, partitions: i32) -> bool {
        let Some(group) = self.has.get(group) else {
            return false;
        };
        let epochs: BTreeSet<i32> = group.values().map(|(epoch, _)| *epoch).collect();
        let held: Vec<i32> = group.values().flat_map(|(_, has)| has.clone()).collect();
        let all: BTreeSet<i32> = held.iter().copied().collect();
        let count = usize::try_from(partitions).unwrap_or_default();
        group.len() == MEMBERS && epochs.len() == 1 && all.len() == count && held.len() == count
    }
}

/// A member's answer, or that it must look for another agent.
type Reached<T> = Option<T>;

fn note(world: &World, group: &'static str, id: &str, epoch: i32, has: &BTreeSet<i32>) {
    let wrong = world.groups().note(group, id, epoch, has);
    world.trace(format!("{group} {id}: {has:?} in {epoch}"));
    world.history().violations.extend(wrong);
}

/// Commits an offset above all that were, and reads it back.
async fn work(
    world: &World,
    link: &mut Link,
    group: &'static str,
    (id, epoch): (&str, i32),
    has: &BTreeSet<i32>,
) -> Reached<()> {
    let Some(partition) = has.iter().next().copied() else {
        return Some(());
    };
    let known = world.groups().committed.get(&(group, partition)).copied();
    let answer = fetched(world, link, group, partition).await?;
    let found = &answer.groups[0];
    if found.error_code != 0 {
        return Some(());
    }
    let found = found.topics[0].partitions[0].committed_offset;
    if known.is_some_and(|known| found < known) {
        let text = format!("went back: {group}/{partition} was {known:?}, is {found}");
        world.history().violations.push(text);
    }
    let next = found.max(0) + 1;
    let request = commit(group, (id, epoch), TOPIC, &[(partition, next)]);
    let answer = link.call(world, 9, &request).await?;
    if answer.topics[0].partitions[0].error_code == 0 {
        let mut groups = world.groups();
        let known = groups.committed.entry((group, partition)).or_default();
        // another owner may have committed since
        *known = next.max(*known);
        groups.commits += 1;
    }
    Some(())
}

async fn fetched(
    world: &World,
    link: &mut Link,
    group: &str,
    partition: i32,
) -> Reached<OffsetFetchResponse> {
    let request = offset_fetch(group, Some((TOPIC, &[partition])));
    link.call::<OffsetFetchRequest>(world, 8, &request).await
}

/// Whether a member may end: it is calm, and its group is settled. A group that does not settle is a violation.
struct End {
    calm_for: Duration,
}

impl End {
    fn reached(&mut self, world: &World, group: &'static str, passed: u64) -> bool {
        if !world.is_calm() {
            return false;
        }
        if world.groups().is_settled(group, world.plan.partitions) {
            return true;
        }
        self.calm_for += Duration::from_millis(passed);
        if self.calm_for > SETTLES {
            let has = format!("{:?}", world.groups().has.get(group));
            let text = format!("unstable: {group} did not settle, {has}");
            world.history().violations.push(text);
            return true;
        }
        false
    }
}

/// A member of the classic group.
pub(super) async fn classic(world: Arc<World>) {
    let mut member = Classic::new("classic", TOPIC);
    member.session_timeout_ms = TIMEOUT_MS;
    member.rebalance_timeout_ms = TIMEOUT_MS;
    let calm_for = Duration::ZERO;
    let mut end = End { calm_for };
    let mut has = None;
    loop {
        let mut link = world.connect().await;
        while let Some(()) = classic_step(&world, &mut link, &mut member, &mut has).await {
            let pause = 500 + world.random(1_500);
            world.pause(pause).await;
            if end.reached(&world, "classic", pause) {
                return;
            }
        }
        world.pause(200).await;
    }
}

/// Joins and syncs, or lives on; None = the connection broke.
async fn classic_step(
    world: &World,
    link: &mut Link,
    member: &mut Classic,
    has: &mut Option<BTreeSet<i32>>,
) -> Reached<()> {
    if let Some(owned) = has {
        let code = link.call(world, 4, &member.heartbeat()).await?.error_code;
        let rejoins = match code {
            0 => {
                let who = (member.id.as_str(), member.generation);
                work(world, link, "classic", who, owned).await?;
                false
            }
            code::UNKNOWN_MEMBER_ID => {
                forget(world, member);
                true
            }
            code::REBALANCE_IN_PROGRESS | code::ILLEGAL_GENERATION => true,
            _ => false,
        };
        if !rejoins && !world.is_calm() && world.random(40) == 0 {
            let left = link.call(world, 5, &member.leave()).await;
            forget(world, member);
            *has = None;
            left?;
        } else if rejoins {
            world.groups().gone("classic", &member.id);
            *has = None;
        }
        return Some(());
    }
    let answer = link
        .call::<JoinGroupRequest>(world, 9, &member.join())
        .await?;
    match answer.error_code {
        0 => member.joined(&answer),
        code::MEMBER_ID_REQUIRED => {
            member.id = answer.member_id.to_string();
            return Some(());
        }
        code::UNKNOWN_MEMBER_ID => {
            forget(world, member);
            return Some(());
        }
        _ => return Some(()),
    }
    let ids: Vec<String> = answer
        .members
        .iter()
        .map(|m| m.member_id.to_string())
        .collect();
    let shares = if ids.is_empty() {
        Vec::new()
    } else {
        share(&ids, TOPIC, world.plan.partitions)
    };
    let answer = link.call(world, 5, &member.sync(&shares)).await?;
    match answer.error_code {
        0 => {
            let owned = assigned(answer.assignment).into_iter().collect();
            note(world, "classic", &member.id, member.generation, &owned);
            *has = Some(owned);
        }
        code::UNKNOWN_MEMBER_ID => forget(world, member),
        _ => {}
    }
    Some(())
}

fn forget(world: &World, member: &mut Classic) {
    world.groups().gone("classic", &member.id);
    member.id.clear();
    member.generation = -1;
}

/// A member of the group of the consumer protocol.
pub(super) async fn modern(world: Arc<World>, id: usize) {
    let mut member = Modern::new("modern", &format!("modern-{id}"), TOPIC);
    let calm_for = Duration::ZERO;
    let mut end = End { calm_for };
    loop {
        let mut link = world.connect().await;
        while let Some(()) = modern_step(&world, &mut link, &mut member).await {
            let pause = 500 + world.random(1_500);
            world.pause(pause).await;
            if end.reached(&world, "modern", pause) {
                return;
            }
        }
        world.pause(200).await;
    }
}

async fn modern_step(world: &World, link: &mut Link, member: &mut Modern) -> Reached<()> {
    let answer = link.call(world, 1, &member.heartbeat()).await?;
    match answer.error_code {
        0 => {
            member.heard(&answer);
            let has: BTreeSet<i32> = member.indexes().into_iter().collect();
            note(world, "modern", &member.id, member.epoch, &has);
            let who = (member.id.as_str(), member.epoch);
            work(world, link, "modern", who, &has).await?;
        }
        code::FENCED_MEMBER_EPOCH | code::UNKNOWN_MEMBER_ID => {
            world.groups().gone("modern", &member.id);
            member.epoch = 0;
            member.owned.clear();
        }
        _ => {}
    }
    Some(())
}
