pub(super) const OPS: &[super::VecOp] = &[];
