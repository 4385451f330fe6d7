//! A table whose places have generations.

use crate::phase::Id;

/// One place: 8 bytes beside what lives in it, at most.
#[derive(Debug)]
struct Place<T> {
    generation: u32,
    tenant: Option<T>,
}

/// Values by [`Id`]. A freed place is used again under the next generation, so an old
/// identity finds nothing instead of a stranger.
#[derive(Debug)]
pub struct Slab<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// Bytes of one place, taken or not; the list of free places adds 4 for each.
    pub const PLACE: usize = size_of::<Place<T>>();

    /// Takes a place.
    ///
    /// # Panics
    /// At 2^32 - 1 places, more than descriptors can be.
    pub fn insert(&mut self, tenant: T) -> Id {
        if let Some(slot) = self.free.pop() {
            let place = &mut self.places[slot as usize];
            place.tenant = Some(tenant);
            return Id { slot, generation: place.generation };
        }
        let slot = u32::try_from(self.places.len()).expect("fewer places than descriptors");
        assert!(slot < Id::LISTENER.slot, "the last slot number is reserved");
        self.places.push(Place { generation: 0, tenant: Some(tenant) });
        Id { slot, generation: 0 }
    }

    /// Frees a place; the next tenant gets another generation.
    pub fn remove(&mut self, id: Id) -> Option<T> {
        let place = self.place(id)?;
        let tenant = place.tenant.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(id.slot);
        Some(tenant)
    }

    /// The tenant, unless it has gone.
    #[must_use]
    pub fn get(&self, id: Id) -> Option<&T> {
        let place = self.places.get(id.slot as usize).filter(|p| p.generation == id.generation)?;
        place.tenant.as_ref()
    }

    /// The tenant, unless it has gone.
    pub fn get_mut(&mut self, id: Id) -> Option<&mut T> {
        self.place(id)?.tenant.as_mut()
    }

    /// How many tenants.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All tenants.
    pub fn iter(&self) -> impl Iterator<Item = (Id, &T)> {
        self.places.iter().enumerate().filter_map(|(slot, place)| {
            let id = Id { slot: slot as u32, generation: place.generation };
            place.tenant.as_ref().map(|tenant| (id, tenant))
        })
    }

    /// Places, taken or not: slots to walk while tenants come and go.
    #[must_use]
    pub fn places(&self) -> u32 {
        self.places.len() as u32
    }

    /// Who lives in this slot now.
    #[must_use]
    pub fn at(&self, slot: u32) -> Option<Id> {
        let place = self.places.get(slot as usize).filter(|place| place.tenant.is_some())?;
        Some(Id { slot, generation: place.generation })
    }

    fn place(&mut self, id: Id) -> Option<&mut Place<T>> {
        let place = self.places.get_mut(id.slot as usize)?;
        if place.generation == id.generation { Some(place) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::Slab;

    #[test]
    fn an_old_identity_finds_nothing() {
        let mut slab = Slab::default();
        let old = slab.insert('a');
        assert_eq!(slab.remove(old), Some('a'));
        let new = slab.insert('b');
        assert_eq!((old.slot, slab.len()), (new.slot, 1));
        assert_eq!(slab.get(old), None);
        assert_eq!(slab.get_mut(old), None);
        assert_eq!(slab.remove(old), None);
        assert_eq!(slab.get(new), Some(&'b'));
        assert_eq!(slab.at(new.slot), Some(new));
        assert_eq!(slab.iter().collect::<Vec<_>>(), [(new, &'b')]);
    }
}
