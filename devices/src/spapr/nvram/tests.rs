use super::*;
use crate::spapr::rtas::{RTAS_SUCCESS, RtasStatus};

#[test]
fn store_then_fetch_and_refuse_what_is_outside() {
    let ram = GuestRam::from_ranges(&[(GuestAddress(0), 0x10000)]).unwrap();
    let mut nvram = Nvram::default();
    ram.write_slice(b"hello", GuestAddress(0x100)).unwrap();
    assert_eq!(
        nvram.store(&[0xfffb, 0x100, 5], &ram),
        RtasReply::with(&[5])
    );
    assert_eq!(
        nvram.fetch(&[0xfffb, 0x200, 5], &ram),
        RtasReply::with(&[5])
    );
    let mut back = [0; 5];
    ram.read_slice(&mut back, GuestAddress(0x200)).unwrap();
    assert_eq!(&back, b"hello");
    let status = |r: RtasReply| -> RtasStatus { r.status };
    assert_eq!(
        status(nvram.fetch(&[0xfffc, 0x200, 5], &ram)),
        RTAS_PARAMETER
    );
    assert_eq!(
        status(nvram.fetch(&[u32::MAX, 0x200, u32::MAX], &ram)),
        RTAS_PARAMETER
    );
    assert_eq!(
        status(nvram.store(&[0, 0xfffe, 5], &ram)),
        RTAS_HARDWARE_ERROR
    );
    assert_eq!(status(nvram.store(&[0, 0], &ram)), RTAS_PARAMETER);
    assert_eq!(status(nvram.store(&[0x10000, 0, 0], &ram)), RTAS_SUCCESS);
}
