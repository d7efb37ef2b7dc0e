use super::*;

fn item(device: &mut FwCfg, key: u16, len: usize) -> Vec<u8> {
    assert!(device.write(BASE, &key.to_le_bytes()));
    (0..len)
        .map(|_| {
            let mut byte = [0];
            assert!(device.read(BASE + 1, &mut byte));
            byte[0]
        })
        .collect()
}

#[test]
fn items_are_streams_that_end_in_zeros() {
    let mut device = FwCfg::new(3, 1 << 31);
    assert_eq!(item(&mut device, SIGNATURE, 6), b"QEMU\0\0");
    assert_eq!(item(&mut device, NB_CPUS, 2), [3, 0]);
    assert_eq!(item(&mut device, RAM_SIZE, 8), (1u64 << 31).to_le_bytes());
    assert_eq!(item(&mut device, 0x7777, 2), [0, 0]);
    assert!(!device.read(BASE + 2, &mut [0]));
}

#[test]
fn the_directory_names_files_in_order() {
    let mut device = FwCfg::new(1, 0);
    let second = device.add_file("etc/b", &[7; 300]);
    let first = device.add_file("etc/a", b"hello");
    let directory = item(&mut device, FILE_DIR, 4 + 2 * 64);
    assert_eq!(directory[..4], [0, 0, 0, 2]);
    assert_eq!(directory[4..8], [0, 0, 0, 5]);
    assert_eq!(directory[8..10], first.to_be_bytes());
    assert_eq!(&directory[12..18], b"etc/a\0");
    assert_eq!(directory[68..72], 300u32.to_be_bytes());
    assert_eq!(directory[72..74], second.to_be_bytes());
    assert_eq!(item(&mut device, first, 6), b"hello\0");
}
