//! The quotas of a node as the connections from one address have them, so that whoever makes many is one party.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Weak;

use parking_lot::Mutex;

use crate::net::transport::accepted::Origin;
use crate::quota::Quotas;

/// Addresses above which those without a connection are forgotten.
const SWEPT: usize = 64;

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct AddressQuotas {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// As long as a connection has them.
    of_addresses: HashMap<Origin, Weak<Quotas>>,
    /// How many had a connection when the others were last forgotten.
    held: usize,
}

impl AddressQuotas {
    /// Those of one address, out of `all`. There are no more than connections, twice.
    pub(crate) fn of(&self, origin: Origin, all: &Quotas) -> Arc<Quotas> {
        let State { of_addresses, held } = &mut *self.state.lock();
        if let Some(known) = of_addresses.get(&origin).and_then(Weak::upgrade) {
            return known;
        }
        if of_addresses.len() >= 2 * *held + SWEPT {
            of_addresses.retain(|_, quotas| quotas.strong_count() > 0);
            *held = of_addresses.len();
        }
        let quotas = Arc::new(all.for_party());
        of_addresses.insert(origin, Arc::downgrade(&quotas));
        quotas
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Limits;

    fn origin(n: u32) -> Origin {
        Origin::of((std::net::Ipv4Addr::from_bits(n), 1).into())
    }

    #[test]
    fn connections_of_one_address_have_one_part_as_long_as_there_are_any() {
        let (addresses, all) = (AddressQuotas::default(), Quotas::new(&Limits::default()));
        let (first, second, other) =
            (addresses.of(origin(1), &all), addresses.of(origin(1), &all), addresses.of(origin(2), &all));
        assert!(Arc::ptr_eq(&first, &second) && !Arc::ptr_eq(&first, &other));
        assert!(Arc::ptr_eq(&first.boxes, &all.boxes) && !Arc::ptr_eq(&first.watches, &other.watches));
        for n in 3..10_000 {
            drop(addresses.of(origin(n), &all));
        }
        assert!(addresses.state.lock().of_addresses.len() <= 2 * 2 + SWEPT);
        assert!(Arc::ptr_eq(&first, &addresses.of(origin(1), &all)));
    }
}
