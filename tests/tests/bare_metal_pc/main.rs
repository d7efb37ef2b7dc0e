//! Bare-metal guests on the PC, for what distribution kernels do not do without iommufd: dirty tracking, nested translation, DMA with PASID,
//! page requests. Each programs the unit and the edu device itself and prints what it finds; the tests hold that, and the report, against
//! the specification. VT-d 4.1 §3, §7.

mod dirty;
mod guest;
mod nested;
mod outcome;
mod page_requests;
mod pasid;
mod unit;
