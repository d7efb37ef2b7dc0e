use super::*;

fn memory(len: u64) -> Box<dyn Disk> {
    Box::new(MemoryDisk::new(len).unwrap())
}

fn round_trip(disk: &mut dyn Disk) {
    let pattern: Vec<u8> = (0..200_000u32).map(|i| (i % 251) as u8).collect();
    disk.write_at(1000, &pattern).unwrap();
    let mut back = vec![0; pattern.len() + 2];
    disk.read_at(999, &mut back).unwrap();
    assert_eq!((back[0], back[back.len() - 1]), (0, 0));
    assert_eq!(back[1..=pattern.len()], pattern);
    disk.write_zeroes(5000, 150_000).unwrap();
    disk.read_at(999, &mut back).unwrap();
    for (i, &b) in back[1..=pattern.len()].iter().enumerate() {
        let zero = (5000..155_000).contains(&(i + 1000));
        assert_eq!(b, if zero { 0 } else { pattern[i] }, "byte {i}");
    }
    let len = disk.len();
    assert!(disk.write_at(len - 1, &[0; 2]).is_err());
    assert!(disk.read_at(u64::MAX, &mut [0; 2]).is_err());
    assert!(disk.write_zeroes(len, 1).is_err());
    disk.flush().unwrap();
}

#[test]
fn memory_keeps_bytes_and_is_sparse() {
    let mut disk = MemoryDisk::new(1 << 40).unwrap();
    round_trip(&mut disk);
    assert!(disk.resident() < 1 << 20);
    disk.write_zeroes(0, 1 << 40).unwrap();
    assert_eq!(disk.resident(), 0);
}

#[test]
fn a_snapshot_leaves_the_base_alone() {
    let mut disk = SnapshotDisk::new(memory(1 << 20), 1 << 20);
    round_trip(&mut disk);
    let mut base = vec![1; 1 << 20];
    disk.base.read_at(0, &mut base).unwrap();
    assert!(base.iter().all(|&b| b == 0));
}

#[test]
fn a_snapshot_is_capped() {
    let mut disk = SnapshotDisk::new(memory(1 << 20), 8192);
    disk.write_at(0, &[1; 8192]).unwrap();
    assert_eq!(
        disk.write_at(9000, &[1]).unwrap_err().kind(),
        io::ErrorKind::StorageFull
    );
    disk.write_at(100, &[2]).unwrap();
}

#[test]
fn a_file_keeps_bytes() {
    let path = std::env::temp_dir().join(format!("viommu-raw-{}", std::process::id()));
    std::fs::write(&path, vec![0; 1 << 20]).unwrap();
    round_trip(&mut RawDisk::open(&path, false).unwrap());
    let mut disk = RawDisk::open(&path, true).unwrap();
    assert!(disk.read_only());
    assert!(disk.write_at(0, &[1]).is_err());
    assert!(disk.write_zeroes(0, 512).is_err());
    assert!(disk.discard(0, 512).is_err());
    std::fs::write(&path, [0; 1000]).unwrap();
    assert!(matches!(
        RawDisk::open(&path, true),
        Err(OpenError::Unaligned { len: 1000, .. })
    ));
    std::fs::write(&path, []).unwrap();
    assert!(matches!(
        RawDisk::open(&path, true),
        Err(OpenError::Empty { .. })
    ));
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(
        RawDisk::open(&path, true),
        Err(OpenError::Unreadable { .. })
    ));
    assert!(matches!(
        RawDisk::open(&std::env::temp_dir(), true),
        Err(OpenError::Unreadable { .. })
    ));
}

#[test]
fn injected_faults_hit_their_range() {
    let faults = Faults::default();
    let mut disk = FaultyDisk::new(memory(1 << 20), faults.clone());
    faults.add(Operation::Read, 512..1024);
    assert!(disk.read_at(0, &mut [0; 512]).is_ok());
    assert!(disk.read_at(0, &mut [0; 513]).is_err());
    assert!(disk.write_at(600, &[0]).is_ok());
    faults.add(Operation::Flush, 0..0);
    assert!(disk.flush().is_err());
    faults.clear();
    disk.flush().unwrap();
}
