//! Commands of I/O queues. NVMe 1.4 §6.

use zerocopy::FromBytes;

use super::bits::{DsmRange, Sqe, Status};
use super::cmds::{Blocks, IoCommand};
use super::{BLOCK, MAX_TRANSFER, NvmeController, prp};

const ALL_NAMESPACES: u32 = 0xffff_ffff;

impl NvmeController {
    /// Carries out an I/O command.
    pub(super) fn io(&mut self, sqe: &Sqe) -> Result<(), Status> {
        let command = sqe.io()?;
        let nsid = sqe.nsid.get();
        if command == IoCommand::Flush && nsid == ALL_NAMESPACES {
            self.flush_all()?;
            self.report.flushes += 1;
            return Ok(());
        }
        let index = self.namespace_index(nsid)?;
        match command {
            IoCommand::Flush => {
                self.flush(index)?;
                self.report.flushes += 1;
                Ok(())
            }
            IoCommand::Read(blocks) => self.read(index, sqe, blocks),
            IoCommand::Write(blocks) => self.write(index, sqe, blocks),
            IoCommand::Compare(blocks) => self.compare(index, sqe, blocks),
            IoCommand::WriteZeroes(blocks) => self.write_zeroes(index, blocks),
            IoCommand::Dsm { ranges, deallocate } => {
                self.dataset_management(index, sqe, ranges, deallocate)
            }
        }
    }

    /// Offset and length in bytes, if the blocks are in the namespace.
    fn range(&self, index: usize, slba: u64, count: u64) -> Result<(u64, u64), Status> {
        let disk = self
            .namespaces
            .get(index)
            .ok_or(Status::INVALID_NAMESPACE)?;
        match slba.checked_add(count) {
            Some(end) if end <= disk.len() / BLOCK => Ok((slba * BLOCK, count * BLOCK)),
            _ => Err(Status::LBA_RANGE),
        }
    }

    /// As `range`, for commands that move data.
    fn transfer(&self, index: usize, blocks: Blocks) -> Result<(u64, usize), Status> {
        if blocks.count * BLOCK > MAX_TRANSFER as u64 {
            return Err(Status::INVALID_FIELD);
        }
        let (offset, len) = self.range(index, blocks.slba, blocks.count)?;
        Ok((offset, len as usize))
    }

    fn writable(&self, index: usize) -> Result<(), Status> {
        match self.namespaces.get(index) {
            Some(disk) if disk.read_only() => Err(Status::WRITE_PROTECTED),
            Some(_) => Ok(()),
            None => Err(Status::INVALID_NAMESPACE),
        }
    }

    fn read(&mut self, index: usize, sqe: &Sqe, blocks: Blocks) -> Result<(), Status> {
        let (offset, len) = self.transfer(index, blocks)?;
        let segments = prp::segments(&self.port, sqe.prps(), len, self.page())?;
        let disk = self
            .namespaces
            .get_mut(index)
            .ok_or(Status::INVALID_NAMESPACE)?;
        let data = self.buffer.get_mut(..len).ok_or(Status::INTERNAL)?;
        disk.read_at(offset, data)
            .map_err(|_| Status::UNRECOVERED_READ)?;
        prp::write(&self.port, &segments, data)?;
        self.report.reads += 1;
        self.report.bytes_read += len as u64;
        Ok(())
    }

    fn write(&mut self, index: usize, sqe: &Sqe, blocks: Blocks) -> Result<(), Status> {
        self.writable(index)?;
        let (offset, len) = self.transfer(index, blocks)?;
        let segments = prp::segments(&self.port, sqe.prps(), len, self.page())?;
        let disk = self
            .namespaces
            .get_mut(index)
            .ok_or(Status::INVALID_NAMESPACE)?;
        let data = self.buffer.get_mut(..len).ok_or(Status::INTERNAL)?;
        // All data is here before the first block changes: a DMA fault leaves the namespace as it was.
        prp::read(&self.port, &segments, data)?;
        disk.write_at(offset, data)
            .map_err(|_| Status::WRITE_FAULT)?;
        self.report.writes += 1;
        self.report.bytes_written += len as u64;
        self.settle(index, blocks.fua)
    }

    fn compare(&mut self, index: usize, sqe: &Sqe, blocks: Blocks) -> Result<(), Status> {
        let (offset, len) = self.transfer(index, blocks)?;
        let segments = prp::segments(&self.port, sqe.prps(), len, self.page())?;
        let disk = self
            .namespaces
            .get_mut(index)
            .ok_or(Status::INVALID_NAMESPACE)?;
        let data = self.buffer.get_mut(..len).ok_or(Status::INTERNAL)?;
        disk.read_at(offset, data)
            .map_err(|_| Status::UNRECOVERED_READ)?;
        let mut theirs = Vec::new();
        let mut at = 0;
        for &(iova, n) in &segments {
            theirs.resize(n, 0);
            self.port
                .read(iova, &mut theirs)
                .map_err(|_| Status::DATA_TRANSFER)?;
            if data.get(at..at + n) != Some(&theirs[..]) {
                return Err(Status::COMPARE);
            }
            at += n;
        }
        self.report.writes += 1;
        Ok(())
    }

    fn write_zeroes(&mut self, index: usize, blocks: Blocks) -> Result<(), Status> {
        self.writable(index)?;
        let (offset, len) = self.range(index, blocks.slba, blocks.count)?;
        let disk = self
            .namespaces
            .get_mut(index)
            .ok_or(Status::INVALID_NAMESPACE)?;
        disk.write_zeroes(offset, len)
            .map_err(|_| Status::WRITE_FAULT)?;
        self.report.writes += 1;
        self.settle(index, blocks.fua)
    }

    fn dataset_management(
        &mut self,
        index: usize,
        sqe: &Sqe,
        ranges: usize,
        deallocate: bool,
    ) -> Result<(), Status> {
        let len = ranges * size_of::<DsmRange>();
        let segments = prp::segments(&self.port, sqe.prps(), len, self.page())?;
        let mut bytes = vec![0; len];
        prp::read(&self.port, &segments, &mut bytes)?;
        if !deallocate {
            return Ok(());
        }
        self.writable(index)?;
        for bytes in bytes.chunks_exact(size_of::<DsmRange>()) {
            let range = DsmRange::read_from_bytes(bytes).map_err(|_| Status::INTERNAL)?;
            let (offset, len) = self.range(index, range.slba.get(), u64::from(range.nlb.get()))?;
            let disk = self
                .namespaces
                .get_mut(index)
                .ok_or(Status::INVALID_NAMESPACE)?;
            disk.discard(offset, len).map_err(|_| Status::WRITE_FAULT)?;
        }
        Ok(())
    }

    /// Waits for stable storage after a write, if asked to or if there is no write cache.
    fn settle(&mut self, index: usize, fua: bool) -> Result<(), Status> {
        if fua || !self.features.write_cache {
            self.flush(index)
        } else {
            Ok(())
        }
    }

    fn flush(&mut self, index: usize) -> Result<(), Status> {
        let disk = self
            .namespaces
            .get_mut(index)
            .ok_or(Status::INVALID_NAMESPACE)?;
        disk.flush().map_err(|_| Status::WRITE_FAULT)
    }

    pub(super) fn flush_all(&mut self) -> Result<(), Status> {
        (0..self.namespaces.len()).try_for_each(|i| self.flush(i))
    }
}
