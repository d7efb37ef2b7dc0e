//! Tests of the unit. `conformance` names each rule with its section; `peers` has one test for each defect known of other emulators.

mod conformance;
mod embedding;
mod fetch;
mod interrupts;
mod machine;
mod peers;
mod queue;
mod random;
mod replies;
mod switches;
mod units;
mod values;

use super::request::Request;
use super::testing::DEVICE;
use super::{Config, Operation};
use crate::dma::SourceId;

/// A change of the capabilities.
type Change = fn(&mut Config);

/// A configuration without caches, so that each request walks.
fn uncached() -> Config {
    Config {
        caches: super::CacheConfig::OFF,
        ..Config::full()
    }
}

fn read(address: u64) -> Request {
    Request::untranslated(DEVICE, address, Operation::Read)
}

fn write(address: u64) -> Request {
    Request::untranslated(DEVICE, address, Operation::Write)
}
