//! The quotas that all connections from one address share: they count as one party, so that a peer does not get a
//! larger share by opening many.

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
    /// The quotas of each address, which exist as long as a connection holds them.
    of_addresses: HashMap<Origin, Weak<Quotas>>,
    /// The number of addresses with a connection when the others were last forgotten.
    held: usize,
}

impl AddressQuotas {
    /// Returns the quotas of one address, a party of `all`. The table has at most about twice as many entries as there
    /// are connections.
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
