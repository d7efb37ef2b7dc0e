//! The tests by subject are below; `testing` has the unit that they call.

mod ddw;
mod dma;
mod hcalls;
mod model;
mod personalities;
mod races;
mod snapshot;

use vm_memory::{Bytes, GuestAddress};

use super::rules::{Laxities, MAX_BLOCK, Personality, Reserved};
use super::spec::*;
use super::store::{Budget, Chunks};
use super::table::{TableFull, TceTable};
use super::testing::*;
use super::window::{TCE_INVALID, TCE_NO_READ, TCE_NO_WRITE, place};
use super::*;
use crate::dma::{Access, DmaPort, Gpa, Iova, NOT_MEMORY};
use crate::spapr::hcall::*;

const DYNAMIC: u64 = 0x0800_0000_0000_0000;
const RW: u64 = 3;

fn unit() -> Unit {
    Unit::new()
}

const BOOT: (u32, u64, u64, u32) = (DEFAULT, 0, 1 << 30, 12);
