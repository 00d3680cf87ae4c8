//! `aquifer inspect pages`: packed parts of the state.

use anyhow::{Context as _, Result, bail};
use aquifer_format::{
    ids::{ObjectId, UploadEpoch, WriterSlot},
    key::object_name,
};
use aquifer_metadata::{
    journal::Page,
    state::{
        Slot,
        page::view::{
            ConsumerMemberView, GroupView, HeadView, MembersView, OffsetView, PageView,
            ProducerView,
        },
    },
};
use aquifer_metadata_api::{extent::Extent, watch::TopicView};
use aquifer_store::Ports;
use serde_json::{Value, json};

use super::event::{address, group};
use crate::{
    arguments::inspect::{InspectPages, PageKind},
    journal_source::JournalSource,
    output::{Printer, hex, summary},
    runtime::wait,
};

/// Runs the command.
pub(super) fn run(arguments: &InspectPages) -> Result<()> {
    let loaded = wait(async {
        let of = &arguments.journal;
        let ports = Ports::system();
        let source =
            JournalSource::open(of.postgres.as_deref(), of.data.as_deref(), &ports).await?;
        let loaded = source.journal.load().await;
        loaded.context("the pages cannot be read")
    })??;
    let mut printer = Printer::stdout(arguments.output);
    let mut problems: Vec<String> = Vec::new();
    for page in &loaded.pages {
        match PageView::read(page) {
            Ok(view) => {
                let (kind, name, fields) = shown(&view);
                if arguments.kind.is_empty() || arguments.kind.contains(&kind) {
                    show(&mut printer, page, name, fields)?;
                }
            }
            Err(error) => {
                let reason = error.to_string();
                let key = hex(&page.key.0);
                let json = json!({ "key": key, "row": page.seq.0, "problem": reason });
                printer.say(&format!("{:>10}  {reason}", page.seq), &json)?;
                problems.push(reason);
            }
        }
        if printer.is_closed() {
            break;
        }
    }
    match problems.first() {
        None => Ok(()),
        Some(first) => bail!(
            "{} pages are not as they should be: {first}",
            problems.len()
        ),
    }
}

fn show<W: std::io::Write>(
    printer: &mut Printer<W>,
    page: &Page,
    name: &str,
    fields: Value,
) -> Result<()> {
    let bytes = page.bytes.len();
    let text = format!(
        "{:>10} {bytes:>8}  {name:<15} {}",
        page.seq,
        summary(&fields)
    );
    let json = json!({
        "page": name,
        "key": hex(&page.key.0),
        "row": page.seq.0,
        "bytes": bytes,
        "fields": fields,
    });
    printer.say(&text, &json)
}

/// A page's kind, its name, and what it holds.
fn shown(view: &PageView) -> (PageKind, &'static str, Value) {
    let (kind, name) = match view {
        PageView::Counters { .. } => (PageKind::Counters, "counters"),
        PageView::Slots { .. } => (PageKind::Slots, "slots"),
        PageView::Session { .. } => (PageKind::Session, "session"),
        PageView::Topic(_) | PageView::DeletedTopic { .. } => (PageKind::Topic, "topic"),
        PageView::Head(_) => (PageKind::Head, "head"),
        PageView::Extents { .. } => (PageKind::Extents, "extents"),
        PageView::Released { .. } => (PageKind::Released, "released"),
        PageView::BrokerConfigs(_) => (PageKind::BrokerConfigs, "broker_configs"),
        PageView::Group(_) => (PageKind::Group, "group"),
        PageView::Offsets(_) => (PageKind::Offsets, "offsets"),
        PageView::GroupConfigs(_) => (PageKind::GroupConfigs, "group_configs"),
        PageView::Merged { .. } => (PageKind::Merged, "merged"),
    };
    (kind, name, fields(view))
}

fn fields(view: &PageView) -> Value {
    match view {
        PageView::Counters {
            cluster,
            incarnation,
            upload_epoch,
            next_leader_epoch,
            next_producer_id,
            next_group,
        } => json!({
            "cluster": cluster.map(|cluster| cluster.to_string()),
            "incarnation": incarnation.0,
            "upload_epoch": upload_epoch.0,
            "next_leader_epoch": next_leader_epoch.0,
            "next_producer_id": next_producer_id.0,
            "next_group": next_group.0,
        }),
        PageView::Slots {
            next_slot,
            next_session,
            slots,
        } => json!({
            "next_slot": next_slot.0,
            "next_session": next_session.0,
            "slots": slots.iter().map(slot).collect::<Vec<_>>(),
        }),
        PageView::Session {
            session,
            slot,
            agent,
            last,
            answered_through,
            remembered,
        } => json!({
            "session": session.0,
            "slot": slot.0,
            "agent": address(agent),
            "last_commit": last.0,
            "answered_through": answered_through.0,
            "remembered": remembered.iter().map(|number| number.0).collect::<Vec<_>>(),
        }),
        PageView::Topic(view) => topic(view),
        PageView::DeletedTopic {
            topic: view,
            deleted_at_ms,
            purge_at_ms,
        } => {
            let mut fields = topic(view);
            fields["deleted_at_ms"] = json!(deleted_at_ms);
            fields["purge_at_ms"] = json!(purge_at_ms);
            fields
        }
        PageView::Head(view) => head(view),
        PageView::Extents {
            partition,
            first,
            dropped,
            extents,
        } => json!({
            "partition": partition.to_string(),
            "first": first.0,
            "dropped": dropped,
            "extents": extents.iter().map(extent).collect::<Vec<_>>(),
        }),
        PageView::Released {
            incarnation,
            upload_epoch,
            objects,
        } => json!({
            "incarnation": incarnation.0,
            "upload_epoch": upload_epoch.0,
            "objects": objects.iter().map(released).collect::<Vec<_>>(),
        }),
        PageView::BrokerConfigs(configs) => json!({ "configs": configs }),
        PageView::Group(view) => group_fields(view),
        PageView::Offsets(view) => json!({
            "group": view.group.0,
            "topic_id": view.topic.to_string(),
            "offsets": view.offsets.iter().map(offset).collect::<Vec<_>>(),
        }),
        PageView::GroupConfigs(groups) => json!({ "groups": groups }),
        PageView::Merged {
            partition,
            first,
            extents,
        } => json!({
            "partition": partition.to_string(),
            "first": first.0,
            "extents": extents.iter().map(extent).collect::<Vec<_>>(),
        }),
    }
}

fn topic(topic: &TopicView) -> Value {
    json!({
        "topic_id": topic.id.to_string(),
        "topic": topic.name,
        "partitions": topic.partitions,
        "leader_epoch": topic.leader_epoch.0,
        "configs": topic.configs,
    })
}

fn group_fields(view: &GroupView) -> Value {
    match &view.members {
        MembersView::Classic { phase, members } => {
            let members = members.iter().map(|(member, assignment)| {
                let mut member = group::classic_member(member);
                member["assignment_bytes"] = json!(assignment.len());
                member
            });
            json!({
                "group": view.group.0,
                "name": view.name,
                "kind": "classic",
                "phase": group::phase(phase),
                "members": members.collect::<Vec<_>>(),
            })
        }
        MembersView::Consumer {
            epoch,
            assignment_epoch,
            members,
        } => json!({
            "group": view.group.0,
            "name": view.name,
            "kind": "consumer",
            "epoch": epoch,
            "assignment_epoch": assignment_epoch,
            "members": members.iter().map(consumer_member).collect::<Vec<_>>(),
        }),
    }
}

fn consumer_member(view: &ConsumerMemberView) -> Value {
    let mut member = group::consumer_member(&view.member);
    member["current"] = group::current(&view.current);
    member["target"] = group::partitions(&view.target);
    member
}

fn offset(view: &OffsetView) -> Value {
    json!({
        "partition": view.partition.partition.0,
        "offset": view.offset.0,
        "leader_epoch": view.leader_epoch,
        "metadata": view.metadata,
        "at_ms": view.at_ms,
        "expires_at_ms": view.expires_at_ms,
    })
}

fn slot((slot, what): (&WriterSlot, &Slot)) -> Value {
    match what {
        Slot::Live(session) => json!({ "slot": slot.0, "session": session.0 }),
        Slot::Resting { since } => json!({ "slot": slot.0, "resting_since": since.0 }),
    }
}

fn released((id, bytes, since): &(ObjectId, u64, UploadEpoch)) -> Value {
    json!({ "object": object_name(id), "bytes": bytes, "since": since.0 })
}

fn head(head: &HeadView) -> Value {
    let held: Vec<Value> = head
        .held
        .iter()
        .map(|held| {
            json!({
                "session": held.session.0,
                "commit": held.batch.number.0,
                "run": held.batch.run,
                "batch": held.batch.batch,
            })
        })
        .collect();
    json!({
        "partition": head.partition.to_string(),
        "log_start": head.log_start.0,
        "high_watermark": head.high_watermark.0,
        "ever_held": head.ever_held,
        "cleaned_through": head.cleaned_through.0,
        "producers": head.producers.iter().map(producer).collect::<Vec<_>>(),
        "held": held,
    })
}

fn producer(producer: &ProducerView) -> Value {
    let batches: Vec<Value> = producer
        .batches
        .iter()
        .map(|(sequence, records, base)| {
            json!({ "first_sequence": sequence.0, "records": records, "base_offset": base.0 })
        })
        .collect();
    json!({
        "producer_id": producer.id.0,
        "epoch": producer.epoch.0,
        "last_seen": producer.last_seen.0,
        "batches": batches,
    })
}

fn extent(extent: &Extent) -> Value {
    json!({
        "base_offset": extent.base_offset.0,
        "end_offset": extent.end_offset.0,
        "max_timestamp": extent.max_timestamp,
        "log_append_time": extent.log_append_time,
        "object": object_name(&extent.object),
        "run_position": extent.run_position,
        "run_bytes": extent.run_bytes,
        "expanded_position": extent.raw_start,
        "expanded_bytes": extent.raw_bytes,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use aquifer_format::ids::{
        Incarnation, JournalSeq, LeaderEpoch, ObjectLevel, ProducerId, SessionId,
    };
    use aquifer_metadata::{
        event::group::{ClassicPhase, GroupNumber},
        journal::PageKey,
    };
    use bytes::Bytes;

    use super::*;
    use crate::arguments::OutputForm;

    fn line(view: &PageView, form: OutputForm) -> String {
        let page = Page {
            key: PageKey(vec![1, 0xab]),
            seq: JournalSeq(9),
            bytes: Bytes::from_static(b"12345"),
        };
        let (_, name, fields) = shown(view);
        let mut out = Vec::new();
        show(&mut Printer::new(form, &mut out), &page, name, fields).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_page_is_a_line() {
        let counters = PageView::Counters {
            cluster: None,
            incarnation: Incarnation(1),
            upload_epoch: UploadEpoch(2),
            next_leader_epoch: LeaderEpoch(3),
            next_producer_id: ProducerId(4),
            next_group: GroupNumber(5),
        };
        let text = line(&counters, OutputForm::Text);
        assert!(text.starts_with("         9        5  counters "), "{text}");
        assert!(text.contains("upload_epoch=2"), "{text}");
        let json: Value = serde_json::from_str(&line(&counters, OutputForm::Json)).unwrap();
        assert_eq!(
            (&json["page"], &json["key"], &json["row"], &json["bytes"]),
            (&json!("counters"), &json!("01ab"), &json!(9), &json!(5))
        );
        assert_eq!(json["fields"]["cluster"], Value::Null);
    }

    #[test]
    fn slots_and_released_objects_are_listed() {
        let slots = BTreeMap::from([
            (WriterSlot(1), Slot::Live(SessionId(7))),
            (
                WriterSlot(2),
                Slot::Resting {
                    since: UploadEpoch(5),
                },
            ),
        ]);
        let slots = PageView::Slots {
            next_slot: WriterSlot(3),
            next_session: SessionId(8),
            slots,
        };
        assert_eq!(
            fields(&slots)["slots"],
            json!([{ "slot": 1, "session": 7 }, { "slot": 2, "resting_since": 5 }])
        );
        let id = ObjectId {
            incarnation: Incarnation(1),
            upload_epoch: UploadEpoch(2),
            writer: WriterSlot(3),
            level: ObjectLevel::L1,
            unique: 4,
        };
        let released = PageView::Released {
            incarnation: Incarnation(1),
            upload_epoch: UploadEpoch(2),
            objects: vec![(id, 100, UploadEpoch(6))],
        };
        let object = "0000000001/0000000002/l1-3-0000000000000004";
        assert_eq!(
            fields(&released)["objects"],
            json!([{ "object": object, "bytes": 100, "since": 6 }])
        );
    }

    #[test]
    fn a_group_shows_its_members_and_its_offsets() {
        let view = PageView::Group(GroupView {
            group: GroupNumber(3),
            name: "billing".to_owned(),
            members: MembersView::Classic {
                phase: ClassicPhase::default(),
                members: Vec::new(),
            },
        });
        let (kind, name, fields) = shown(&view);
        assert!(matches!(kind, PageKind::Group) && name == "group");
        assert_eq!(fields["phase"]["state"], json!("Empty"));
        assert_eq!(
            (&fields["name"], &fields["kind"]),
            (&json!("billing"), &json!("classic"))
        );
        let configs = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        let configs = PageView::GroupConfigs(BTreeMap::from([("billing".to_owned(), configs)]));
        assert_eq!(
            super::fields(&configs)["groups"],
            json!({ "billing": { "a": "b" } })
        );
    }
}
