//! The unit behind vm-memory's traits, so that any device built on rust-vmm crates (virtio-queue, vhost) can stand behind it.
//!
//! [`Requester`] is [`vm_memory::Iommu`] for one requester; [`memory`] puts it in front of guest memory. vm-memory's own IOTLB lives
//! only as long as one access: each access asks the unit, so dirty bits, fault records and invalidations are as for any other DMA.
//! The DMA counts as in flight until the iterator over its pieces is dropped; who keeps slices longer holds [`Vtd::enter`] as well.
//!
//! What the traits cannot say: privilege, execute, and atomic operations. An access that faults is refused as a whole, with the fault
//! recorded at its first bad page.

use std::fmt;
use std::ops::Deref;

use vm_memory::iommu::{Error, IotlbIterator, IovaRange};
use vm_memory::{
    GuestAddress, GuestMemoryBackend, GuestMemoryRegion, Iommu, IommuMemory, Iotlb, Permissions,
};

use super::memory::TableMemory;
use super::request::{Operation, Request};
use super::{Blocked, Guard, Vtd};
use crate::dma::{FaultReason, SourceId};

/// Pieces of one access, at most.
const MAX_PIECES: usize = 1 << 16;

/// The unit as one requester sees it.
#[derive(Clone)]
pub struct Requester<M: TableMemory> {
    unit: Vtd<M>,
    source: SourceId,
    pasid: Option<u32>,
}

impl<M: TableMemory> Requester<M> {
    /// Requests of `source`, with a PASID if one is given.
    pub fn new(unit: Vtd<M>, source: SourceId, pasid: Option<u32>) -> Self {
        Requester {
            unit,
            source,
            pasid,
        }
    }

    /// The unit.
    pub fn unit(&self) -> &Vtd<M> {
        &self.unit
    }

    /// Bytes of one page, for one operation, from `at` on: where they are and how many.
    fn page(&self, at: u64, operation: Operation) -> Result<(u64, u64), Blocked> {
        let request = Request::untranslated(self.source, at, operation);
        let request = match self.pasid {
            Some(pasid) => request.with_pasid(pasid),
            None => request,
        };
        self.unit
            .translate(&request)
            .map(|t| (t.address, t.remaining()))
    }
}

impl<M: TableMemory> fmt::Debug for Requester<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requester")
            .field("source", &self.source)
            .field("pasid", &self.pasid)
            .finish_non_exhaustive()
    }
}

/// The translations of one access, in flight as long as they live.
#[derive(Debug)]
pub struct Translations<'a, M: TableMemory> {
    iotlb: Iotlb,
    _in_flight: Guard<'a, M>,
}

impl<M: TableMemory> Deref for Translations<'_, M> {
    type Target = Iotlb;

    fn deref(&self) -> &Iotlb {
        &self.iotlb
    }
}

fn operations(access: Permissions) -> &'static [Operation] {
    match access {
        Permissions::Write => &[Operation::Write],
        Permissions::ReadWrite => &[Operation::Read, Operation::Write],
        _ => &[Operation::Read],
    }
}

impl<M: TableMemory> Iommu for Requester<M> {
    type IotlbGuard<'a>
        = Translations<'a, M>
    where
        Self: 'a;

    fn translate(
        &self,
        iova: GuestAddress,
        length: usize,
        access: Permissions,
    ) -> Result<IotlbIterator<Translations<'_, M>>, Error> {
        let fail = |reason: String| Error::CannotResolve {
            iova_range: IovaRange { base: iova, length },
            reason,
        };
        let end = iova
            .0
            .checked_add(length as u64)
            .ok_or_else(|| fail("it wraps".to_owned()))?;
        let mut found = Translations {
            _in_flight: self.unit.enter(),
            iotlb: Iotlb::new(),
        };
        let mut at = iova.0;
        for _ in 0..MAX_PIECES {
            if at >= end {
                break;
            }
            let mut piece = (0, u64::MAX);
            for operation in operations(access) {
                let (address, len) = self
                    .page(at, *operation)
                    .map_err(|b| fail(FaultReason::from(b).to_string()))?;
                piece = (address, piece.1.min(len));
            }
            let len = piece.1.min(end - at);
            found.iotlb.set_mapping(
                GuestAddress(at),
                GuestAddress(piece.0),
                len as usize,
                access,
            )?;
            at += len;
        }
        if at < end {
            return Err(fail("too many pages".to_owned()));
        }
        Iotlb::lookup(found, iova, length, access).map_err(|_| fail("nothing is mapped".to_owned()))
    }
}

/// Guest memory with the addresses of one requester: for virtio-queue and its like.
pub fn memory<M, B>(
    backend: B,
    requester: Requester<M>,
    bitmap: <B::R as GuestMemoryRegion>::B,
) -> IommuMemory<B, Requester<M>>
where
    M: TableMemory,
    B: GuestMemoryBackend,
{
    IommuMemory::new(backend, requester, true, bitmap)
}
