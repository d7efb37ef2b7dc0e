use super::*;

fn ram() -> GuestRam {
    GuestRam::from_ranges(&[(GuestAddress(0), 0x10000)]).unwrap()
}

fn put(ram: &GuestRam, at: u64, cells: &[u32]) {
    for (i, c) in (0u64..).zip(cells) {
        ram.write_slice(&c.to_be_bytes(), GuestAddress(at + 4 * i))
            .unwrap();
    }
}

#[test]
fn tokens_and_names_are_unique_and_invertible() {
    let mut names = std::collections::BTreeSet::new();
    for &call in RtasCall::ALL {
        assert_eq!(RtasCall::from_token(call.token()), Some(call));
        assert!(names.insert(call.name()));
    }
    assert_eq!(RtasCall::from_token(0), None);
}

#[test]
fn arguments_come_in_and_results_go_behind_them() {
    let ram = ram();
    put(
        &ram,
        0x100,
        &[RtasCall::IbmGetXive.token(), 1, 3, 0x1001, 9, 9, 9, 9],
    );
    let request = RtasRequest::parse(&ram, Gpa(0x100)).unwrap();
    assert_eq!(request.call, RtasCall::IbmGetXive);
    assert_eq!((request.args(), request.arg(1)), (&[0x1001][..], None));
    request.finish(&ram, &RtasReply::with(&[5, 6, 7])).unwrap();
    assert_eq!(cells::<5>(&ram, 0x10c), Some([0x1001, 0, 5, 6, 9]));
    request.finish(&ram, &RTAS_PARAMETER.into()).unwrap();
    assert_eq!(cells::<2>(&ram, 0x110), Some([-3i32 as u32, 0]));
}

#[test]
fn bad_buffers_are_parameters() {
    let ram = ram();
    let token = RtasCall::PowerOff.token();
    put(&ram, 0x100, &[token, 17, 1]);
    put(&ram, 0x200, &[token, 1, 17]);
    put(&ram, 0x300, &[1, 1, 1]);
    put(&ram, 0xfff4, &[token, 1, 1]);
    put(&ram, 0xffec, &[token, 1, 2]);
    for at in [0x100, 0x102, 0x200, 0x300, 0xfff4, 0x20000, u64::MAX - 3] {
        assert_eq!(
            RtasRequest::parse(&ram, Gpa(at)),
            Err(hcall::H_PARAMETER),
            "{at:#x}"
        );
    }
    let request = RtasRequest::parse(&ram, Gpa(0xffec)).unwrap();
    assert_eq!(
        request.finish(&ram, &RTAS_SUCCESS.into()),
        Err(hcall::H_PARAMETER)
    );
    assert_eq!(RtasStatus::delay(9), RtasStatus(9905));
}
