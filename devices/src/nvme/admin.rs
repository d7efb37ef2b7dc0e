//! Commands of the admin queue. NVMe 1.4 §5.

use super::bits::{Sqe, Status};
use super::cmds::{AdminCommand, Prps};
use super::queue::{CompletionQueue, SubmissionQueue};
use super::{MAX_AERS, MAX_ENTRIES, MAX_IO_QUEUES, NvmeController, prp};
use crate::dma::Iova;

impl NvmeController {
    /// Carries out an admin command: dword 0 of the completion, or none if the command is held.
    pub(super) fn admin(&mut self, sqe: &Sqe) -> Result<Option<u32>, Status> {
        match sqe.admin()? {
            AdminCommand::DeleteSq(qid) => {
                if qid == 0 {
                    return Err(Status::QUEUE_ID);
                }
                self.sqs
                    .remove(&qid)
                    .map(|_| Some(0))
                    .ok_or(Status::QUEUE_ID)
            }
            AdminCommand::CreateSq {
                qid,
                size,
                cqid,
                contiguous,
                base,
            } => {
                let entries =
                    self.new_queue(self.sqs.contains_key(&qid), qid, size, contiguous, base)?;
                if cqid == 0 || cqid > MAX_IO_QUEUES {
                    return Err(Status::QUEUE_ID);
                }
                if !self.cqs.contains_key(&cqid) {
                    return Err(Status::CQ_INVALID);
                }
                if self.cc.iosqes() != 6 {
                    return Err(Status::QUEUE_SIZE);
                }
                self.sqs
                    .insert(qid, SubmissionQueue::new(base, entries, cqid));
                Ok(Some(0))
            }
            AdminCommand::DeleteCq(qid) => {
                if qid == 0 || !self.cqs.contains_key(&qid) {
                    return Err(Status::QUEUE_ID);
                }
                if self.sqs.values().any(|sq| sq.cqid == qid) {
                    return Err(Status::QUEUE_DELETION);
                }
                self.cqs.remove(&qid);
                Ok(Some(0))
            }
            AdminCommand::CreateCq {
                qid,
                size,
                vector,
                interrupts,
                contiguous,
                base,
            } => {
                let entries =
                    self.new_queue(self.cqs.contains_key(&qid), qid, size, contiguous, base)?;
                if interrupts && vector >= self.msix.vectors() {
                    return Err(Status::VECTOR);
                }
                if self.cc.iocqes() != 4 {
                    return Err(Status::QUEUE_SIZE);
                }
                self.cqs.insert(
                    qid,
                    CompletionQueue::new(base, entries, interrupts.then_some(vector)),
                );
                Ok(Some(0))
            }
            AdminCommand::Identify(cns) => {
                let data = self.identify(cns, sqe.nsid.get())?;
                self.answer(sqe.prps(), &data)?;
                Ok(Some(0))
            }
            AdminCommand::GetLog {
                lid,
                retain,
                len,
                offset,
            } => {
                let data = self.log_page(lid, offset, len)?;
                self.answer(sqe.prps(), &data)?;
                if !retain {
                    self.log_was_read(lid);
                }
                Ok(Some(0))
            }
            // Every command but Asynchronous Event Request completes before the next is fetched, and those are not aborted:
            // dword 0 says "not aborted".
            AdminCommand::Abort { .. } => Ok(Some(1)),
            AdminCommand::SetFeatures { fid, save, value } => {
                if save {
                    return Err(Status::NOT_SAVEABLE);
                }
                self.set_feature(fid, value).map(Some)
            }
            AdminCommand::GetFeatures { fid, select, value } => {
                self.get_feature(fid, select, value).map(Some)
            }
            AdminCommand::AsyncEvent => {
                if self.aers.len() >= MAX_AERS {
                    return Err(Status::AER_LIMIT);
                }
                self.aers.push_back(sqe.cid.get());
                Ok(None)
            }
        }
    }

    /// The checks that creating a queue of either kind has in common; the number of entries.
    fn new_queue(
        &self,
        exists: bool,
        qid: u16,
        size: u16,
        contiguous: bool,
        base: Iova,
    ) -> Result<u32, Status> {
        if qid == 0 || qid > MAX_IO_QUEUES || exists {
            return Err(Status::QUEUE_ID);
        }
        let entries = u32::from(size) + 1;
        if !(2..=MAX_ENTRIES).contains(&entries) {
            return Err(Status::QUEUE_SIZE);
        }
        if !contiguous {
            return Err(Status::INVALID_FIELD);
        }
        if base.0 & (self.page() - 1) != 0 {
            return Err(Status::PRP_OFFSET);
        }
        Ok(entries)
    }

    fn answer(&self, prps: Prps, data: &[u8]) -> Result<(), Status> {
        let segments = prp::segments(&self.port, prps, data.len(), self.page())?;
        prp::write(&self.port, &segments, data)
    }
}
