use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress};

use super::*;

const INDEX: DrcIndex = DrcIndex(0x4000_0008);
const AREA: u32 = 0x2000;

fn ram() -> GuestRam {
    GuestRam::from_ranges(&[(GuestAddress(0), 0x10000)]).unwrap()
}

fn steps() -> Vec<Step> {
    vec![
        Step::Child("pci8086,5845@1".into()),
        Step::Property("reg".into(), vec![0, 0, 8, 0]),
        Step::Property("name-only".into(), vec![]),
        Step::Child("inner".into()),
        Step::Property("x".into(), vec![9; 3000]),
        Step::Parent,
        Step::Sibling("next".into()),
    ]
}

fn connectors(state: DrcState) -> Connectors {
    let mut connectors = Connectors::default();
    connectors.add(INDEX, state, steps());
    connectors
}

/// A call with what it changed.
fn call(c: &mut Connectors, call: RtasCall, args: &[u32]) -> (i32, u32, Option<Change>) {
    let mut change = None;
    let reply = c.rtas(call, args, &ram(), |index, what| {
        assert_eq!(index, INDEX);
        change = Some(what);
        Ok(())
    });
    let reply = reply.expect("one of the calls");
    (reply.status.0, reply.values[0], change)
}

fn set(c: &mut Connectors, indicator: u32, value: u32) -> (i32, Option<Change>) {
    let (status, _, change) = call(c, RtasCall::SetIndicator, &[indicator, INDEX.0, value]);
    (status, change)
}

fn sense(c: &mut Connectors) -> u32 {
    let (status, value, _) = call(c, RtasCall::GetSensorState, &[DR_ENTITY_SENSE, INDEX.0]);
    assert_eq!(status, 0);
    value
}

#[test]
fn the_way_in_and_back() {
    let mut c = connectors(DrcState::Unusable);
    assert_eq!(sense(&mut c), UNUSABLE);
    assert_eq!(set(&mut c, ISOLATION_STATE, 1), (-3, None), "not usable");
    assert_eq!(set(&mut c, ALLOCATION_STATE, 1), (0, None));
    assert_eq!(sense(&mut c), PRESENT);
    assert_eq!(set(&mut c, ISOLATION_STATE, 0), (0, None), "already");
    assert_eq!(set(&mut c, ISOLATION_STATE, 1), (0, Some(Change::Attach)));
    assert_eq!(set(&mut c, ISOLATION_STATE, 1), (0, None), "already");
    assert_eq!(set(&mut c, ALLOCATION_STATE, 0), (-3, None), "in use");
    assert_eq!(set(&mut c, ISOLATION_STATE, 0), (0, Some(Change::Detach)));
    assert_eq!(set(&mut c, ALLOCATION_STATE, 0), (0, None));
    assert_eq!(c.state(INDEX), Some(DrcState::Unusable));
}

#[test]
fn what_is_refused_changes_nothing() {
    let mut c = connectors(DrcState::Configured);
    let args = [ISOLATION_STATE, INDEX.0, 0];
    let refuse = |_, _| Err(VALID_TRANSLATION);
    let reply = c
        .rtas(RtasCall::SetIndicator, &args, &ram(), refuse)
        .unwrap();
    assert_eq!(reply.status, VALID_TRANSLATION);
    assert_eq!(c.state(INDEX), Some(DrcState::Configured));
    for (indicator, value) in [(9001, 2), (9003, 2), (9002, 4), (9004, 0), (0, 0)] {
        assert_eq!(set(&mut c, indicator, value), (-3, None), "{indicator}");
    }
    assert_eq!(set(&mut c, DR_INDICATOR, 2), (0, None));
    assert_eq!(c.light(INDEX), Some(2));
    let other = [DR_ENTITY_SENSE, INDEX.0 + 1];
    assert_eq!(call(&mut c, RtasCall::GetSensorState, &other).0, -3);
    assert_eq!(
        call(&mut c, RtasCall::GetSensorState, &[9001, INDEX.0]).0,
        -3
    );
    for bad in [RtasCall::GetSensorState, RtasCall::SetIndicator] {
        assert_eq!(call(&mut c, bad, &[1]).0, -3);
    }
    assert!(
        c.rtas(RtasCall::PowerOff, &[], &ram(), |_, _| Ok(()))
            .is_none()
    );
}

fn word(ram: &GuestRam, at: u32) -> u32 {
    let mut bytes = [0; 4];
    ram.read_slice(&mut bytes, GuestAddress(at.into())).unwrap();
    u32::from_be_bytes(bytes)
}

fn bytes(ram: &GuestRam, at: u32, len: u32) -> Vec<u8> {
    let mut bytes = vec![0; len as usize];
    ram.read_slice(&mut bytes, GuestAddress(at.into())).unwrap();
    bytes
}

/// Reads a traversal as a guest does.
fn walk(c: &mut Connectors, ram: &GuestRam) -> Vec<Step> {
    ram.write_slice(&[0; WORK_AREA], GuestAddress(AREA.into()))
        .unwrap();
    ram.write_slice(&INDEX.0.to_be_bytes(), GuestAddress(AREA.into()))
        .unwrap();
    let mut out = Vec::new();
    loop {
        let reply = c.rtas(RtasCall::IbmConfigureConnector, &[AREA, 0], ram, |_, _| {
            Ok(())
        });
        let (at, len, value) = (
            word(ram, AREA + 8),
            word(ram, AREA + 12),
            word(ram, AREA + 16),
        );
        let name = bytes(ram, AREA + at, 64);
        let end = name.iter().position(|b| *b == 0).unwrap();
        let name = String::from_utf8(name[..end].to_vec()).unwrap();
        out.push(match reply.unwrap().status.0 {
            0 => return out,
            1 => Step::Sibling(name),
            2 => Step::Child(name),
            3 => Step::Property(name, bytes(ram, AREA + value, len)),
            4 => Step::Parent,
            other => panic!("status {other}"),
        });
    }
}

#[test]
fn a_node_comes_piece_by_piece() {
    let (mut c, ram) = (connectors(DrcState::Unisolated), ram());
    assert_eq!(walk(&mut c, &ram), steps());
    assert_eq!(c.state(INDEX), Some(DrcState::Configured));
    assert_eq!(walk(&mut c, &ram), steps(), "again");
}

#[test]
fn configuring_needs_a_connector_that_is_unisolated() {
    let ram = ram();
    ram.write_slice(&INDEX.0.to_be_bytes(), GuestAddress(AREA.into()))
        .unwrap();
    let configure = |c: &mut Connectors, area| {
        let reply = c.rtas(RtasCall::IbmConfigureConnector, &[area, 0], &ram, |_, _| {
            Ok(())
        });
        reply.unwrap().status.0
    };
    for state in [DrcState::Unusable, DrcState::Isolated] {
        assert_eq!(configure(&mut connectors(state), AREA), -9003);
    }
    let mut c = connectors(DrcState::Unisolated);
    assert_eq!(configure(&mut c, 0x3000), -3, "no such connector");
    assert_eq!(configure(&mut c, 0xffff_f000), -3, "no memory");
    c.add(
        INDEX,
        DrcState::Unisolated,
        vec![Step::Property("x".into(), vec![0; WORK_AREA])],
    );
    assert_eq!(configure(&mut c, AREA), -1, "larger than the work area");
    assert!(!Step::Property("x".into(), vec![0; WORK_AREA]).fits());
}

proptest! {
    /// Whatever a guest calls with: a defined answer, and attach and detach in turn.
    #[test]
    fn any_calls(calls in prop::collection::vec((9000u32..9005, 0u32..5, any::<bool>()), 1..60)) {
        let mut c = connectors(DrcState::Unusable);
        let mut attached = false;
        for (token, value, indicator) in calls {
            let kind = if indicator { RtasCall::SetIndicator } else { RtasCall::GetSensorState };
            let args = [token, INDEX.0, value];
            let (status, _, change) = call(&mut c, kind, if indicator { &args } else { &args[..2] });
            prop_assert!(status == 0 || status == -3);
            if let Some(change) = change {
                prop_assert_eq!(change == Change::Detach, attached);
                attached = !attached;
            }
            prop_assert_eq!(c.state(INDEX) >= Some(DrcState::Unisolated), attached);
        }
    }

    /// Any work area, anywhere.
    #[test]
    fn any_work_area(area in 0u32..0x11000, cursor: u32, fill: u8) {
        let (mut c, ram) = (connectors(DrcState::Unisolated), ram());
        ram.write_slice(&[fill; 0x10000], GuestAddress(0)).unwrap();
        let _ = ram.write_slice(&INDEX.0.to_be_bytes(), GuestAddress(area.into()));
        let _ = ram.write_slice(&cursor.to_be_bytes(), GuestAddress(u64::from(area) + 4));
        let reply = c.rtas(RtasCall::IbmConfigureConnector, &[area, 0], &ram, |_, _| Ok(()));
        prop_assert!((-3..=4).contains(&reply.unwrap().status.0));
    }
}
