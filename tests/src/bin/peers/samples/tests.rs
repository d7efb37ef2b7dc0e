use super::*;

#[test]
fn medians_and_ratios() {
    let mut s = Samples::default();
    s.push("once", Emulator::Viommu, 1.0);
    assert_eq!(s.widest(), None);
    for (ours, theirs) in [(3.0, 8.0), (1.0, 4.0), (2.0, 6.0)] {
        s.push("x", Emulator::Viommu, ours);
        s.push("x", Emulator::Qemu, theirs);
    }
    assert_eq!(s.median("x", Emulator::Viommu).ok(), Some(2.0));
    assert_eq!(
        s.ratio("x", Emulator::Viommu, Emulator::Qemu).ok(),
        Some(2.0 / 6.0)
    );
    s.push("x", Emulator::Viommu, 4.0);
    assert_eq!(s.median("x", Emulator::Viommu).ok(), Some(2.5));
    let (name, spread) = s.widest().unwrap();
    assert_eq!((name.as_str(), spread), ("x, viommu", 3.0 / 2.5));
    assert!(s.lacks("y") && !s.lacks("x"));
    let error = s.median("y", Emulator::Qemu).unwrap_err().to_string();
    assert!(error.contains("y of QEMU"), "{error}");
}
