//! Memory as virtio-queue wants it, in bus addresses.

use std::iter::FusedIterator;

use vm_memory::bitmap::MS;
use vm_memory::guest_memory::{Error, GuestMemoryBackendSliceIterator, GuestMemorySliceIterator};
use vm_memory::{GuestAddress, GuestMemory, GuestMemoryBackend, Permissions, VolatileSlice};

use crate::dma::{Access, DmaPort, InFlight, Iova};
use crate::memory::{GuestRam, WriteWatch};

/// [`GuestMemory`] whose addresses are a [`DmaPort`]'s bus addresses.
///
/// Nothing is cached: each access asks the port's translator, one piece at a time. Writes mark the RAM's own
/// [`WriteWatch`], by guest physical address. An invalidation waits for an access that goes through [`vm_memory::Bytes`]; who keeps
/// slices longer than the iterator that gave them holds [`DmaPort::in_flight`] as well.
#[derive(Clone, Debug)]
pub struct IovaMemory {
    port: DmaPort,
}

impl IovaMemory {
    /// Memory behind `port`.
    pub fn new(port: DmaPort) -> Self {
        IovaMemory { port }
    }

    /// The port.
    pub fn port(&self) -> &DmaPort {
        &self.port
    }
}

fn directions(access: Permissions) -> &'static [Access] {
    match access {
        Permissions::Write => &[Access::Write],
        Permissions::ReadWrite => &[Access::Read, Access::Write],
        _ => &[Access::Read],
    }
}

impl GuestMemory for IovaMemory {
    type PhysicalMemory = GuestRam;
    type Bitmap = WriteWatch;

    fn check_range(&self, addr: GuestAddress, count: usize, access: Permissions) -> bool {
        Slices::new(&self.port, addr, count, access).all(|s| s.is_ok())
    }

    fn get_slices<'a>(
        &'a self,
        addr: GuestAddress,
        count: usize,
        access: Permissions,
    ) -> Result<impl GuestMemorySliceIterator<'a, MS<'a, GuestRam>>, Error> {
        Ok(Slices::new(&self.port, addr, count, access))
    }
}

/// Translates as it goes.
struct Slices<'a> {
    port: &'a DmaPort,
    next: u64,
    left: u64,
    access: Permissions,
    /// Held as long as the slices are being handed out.
    _in_flight: InFlight<'a>,
    piece: Option<GuestMemoryBackendSliceIterator<'a, GuestRam>>,
}

impl<'a> Slices<'a> {
    fn new(port: &'a DmaPort, addr: GuestAddress, count: usize, access: Permissions) -> Self {
        Slices {
            port,
            next: addr.0,
            left: count as u64,
            access,
            _in_flight: port.in_flight(),
            piece: None,
        }
    }

    fn stop(&mut self, error: Error) -> Option<Result<VolatileSlice<'a, MS<'a, GuestRam>>, Error>> {
        self.left = 0;
        self.piece = None;
        Some(Err(error))
    }
}

impl<'a> Iterator for Slices<'a> {
    type Item = Result<VolatileSlice<'a, MS<'a, GuestRam>>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.piece.as_mut().and_then(Iterator::next) {
            Some(Ok(slice)) => return Some(Ok(slice)),
            Some(Err(e)) => return self.stop(e),
            None => self.piece = None,
        }
        if self.left == 0 {
            return None;
        }
        let mut len = self.left;
        let mut gpa = 0;
        for &access in directions(self.access) {
            let Ok(piece) = self.port.translate(Iova(self.next), len, access) else {
                return self.stop(Error::InvalidGuestAddress(GuestAddress(self.next)));
            };
            len = piece.len;
            gpa = piece.gpa.0;
        }
        self.left -= len;
        if self.left > 0 {
            match self.next.checked_add(len) {
                Some(next) => self.next = next,
                None => return self.stop(Error::GuestAddressOverflow),
            }
        }
        let ram: &'a GuestRam = self.port.ram();
        let mut piece = GuestMemoryBackend::get_slices(ram, GuestAddress(gpa), len as usize);
        match piece.next() {
            Some(Ok(slice)) => {
                self.piece = Some(piece);
                Some(Ok(slice))
            }
            Some(Err(e)) => self.stop(e),
            None => self.stop(Error::InvalidGuestAddress(GuestAddress(gpa))),
        }
    }
}

impl FusedIterator for Slices<'_> {}

impl<'a> GuestMemorySliceIterator<'a, MS<'a, GuestRam>> for Slices<'a> {}
