//! Types of fields: one type for each field of a measurement inside a shard group, other groups may differ.
//!
//! Owns:  [`SchemaRegistry`], the one that decides; core 0 has it. Other cores cache what it answered.
//! In:    claims from ingest, one for the fields of a point; what was on disk, on recovery.
//! Out:   the types that hold. The first claim wins; one that finds another type for one of its fields makes none.

use std::collections::BTreeMap;

use crate::model::Bytes;
use crate::model::DatabaseId;
use crate::model::FieldType;
use crate::model::GroupId;
use crate::model::PolicyId;

/// Fields of one measurement, sorted by name.
pub type Fields = BTreeMap<Bytes, FieldType>;

/// The type a field has, and who gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The type.
    pub field_type: FieldType,
    /// Whether the claim that is answered made the field.
    pub is_new: bool,
}

/// Field types of every measurement of every shard group.
#[derive(Debug, Default)]
pub struct SchemaRegistry {
    groups: BTreeMap<(DatabaseId, PolicyId, GroupId), BTreeMap<Bytes, Fields>>,
    /// In how many groups each measurement is.
    measurements: BTreeMap<DatabaseId, BTreeMap<Bytes, u64>>,
}

impl SchemaRegistry {
    /// Gives each field the asked type unless it has one; if one has another type, no field gets any. The types that
    /// hold, in the order of `fields`.
    pub fn claim(
        &mut self,
        database: DatabaseId,
        policy: PolicyId,
        group: GroupId,
        measurement: &[u8],
        fields: &[(&[u8], FieldType)],
    ) -> Vec<Option<Held>> {
        let measurements = self.groups.entry((database, policy, group)).or_default();
        if !measurements.contains_key(measurement) {
            measurements.insert(measurement.into(), Fields::new());
            *self.measurements.entry(database).or_default().entry(measurement.into()).or_default() += 1;
        }
        let known = measurements.get_mut(measurement).expect("put there above");
        let refused = fields.iter().any(|(name, asked)| known.get(*name).is_some_and(|held| held != asked));
        fields.iter().map(|&(name, asked)| claim_one(known, name, asked, refused)).collect()
    }

    /// Takes in what a shard found on its disk; an earlier claim wins.
    pub fn observe(
        &mut self,
        database: DatabaseId,
        policy: PolicyId,
        group: GroupId,
        measurement: &[u8],
        name: &[u8],
        field_type: FieldType,
    ) {
        self.claim(database, policy, group, measurement, &[(name, field_type)]);
    }

    /// The fields of `measurement` in a shard group.
    pub fn fields(
        &self,
        database: DatabaseId,
        policy: PolicyId,
        group: GroupId,
        measurement: &[u8],
    ) -> Option<&Fields> {
        self.groups.get(&(database, policy, group))?.get(measurement)
    }

    /// Measurements of `database` that any shard group has.
    pub fn measurement_count(&self, database: DatabaseId) -> u64 {
        self.measurements.get(&database).map_or(0, |measurements| measurements.len() as u64)
    }

    /// The database was dropped.
    pub fn forget_database(&mut self, database: DatabaseId) {
        self.measurements.remove(&database);
        self.groups.retain(|&(of, _, _), _| of != database);
    }

    /// The shard group was dropped.
    pub fn forget_group(&mut self, database: DatabaseId, policy: PolicyId, group: GroupId) {
        let Some(gone) = self.groups.remove(&(database, policy, group)) else { return };
        let Some(measurements) = self.measurements.get_mut(&database) else { return };
        for name in gone.into_keys() {
            match measurements.get_mut(&name) {
                Some(groups) if *groups > 1 => *groups -= 1,
                _ => drop(measurements.remove(&name)),
            }
        }
    }

    /// The measurement lost its last series: another type may be written from now on.
    pub fn forget_measurement(&mut self, database: DatabaseId, measurement: &[u8]) {
        if let Some(measurements) = self.measurements.get_mut(&database) {
            measurements.remove(measurement);
        }
        for (_, measurements) in self.groups.iter_mut().filter(|((of, _, _), _)| *of == database) {
            measurements.remove(measurement);
        }
    }
}

fn claim_one(known: &mut Fields, name: &[u8], asked: FieldType, refused: bool) -> Option<Held> {
    if let Some(&field_type) = known.get(name) {
        return Some(Held { field_type, is_new: false });
    }
    if refused {
        return None;
    }
    known.insert(name.into(), asked);
    Some(Held { field_type: asked, is_new: true })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATABASE: DatabaseId = DatabaseId(1);
    const POLICY: PolicyId = PolicyId(1);

    #[test]
    fn first_claim_wins_inside_a_shard_group_only() {
        let mut registry = SchemaRegistry::default();
        let mut claim = |group: u64, asked| registry.claim(DATABASE, POLICY, GroupId(group), b"m", &[(b"v", asked)]);
        let held = |field_type, is_new| [Some(Held { field_type, is_new })];
        assert_eq!(claim(1, FieldType::Float), held(FieldType::Float, true));
        assert_eq!(claim(1, FieldType::Integer), held(FieldType::Float, false));
        assert_eq!(claim(2, FieldType::Integer), held(FieldType::Integer, true));
    }

    #[test]
    fn measurements_are_counted_once_whatever_groups_they_are_in() {
        let mut registry = SchemaRegistry::default();
        for (group, measurement) in [(1, b"a"), (1, b"b"), (2, b"a"), (2, b"c")] {
            registry.claim(DATABASE, POLICY, GroupId(group), measurement, &[(b"v", FieldType::Float)]);
        }
        assert_eq!([registry.measurement_count(DATABASE), registry.measurement_count(DatabaseId(2))], [3, 0]);
        registry.forget_group(DATABASE, POLICY, GroupId(1));
        assert_eq!(registry.measurement_count(DATABASE), 2);
        registry.forget_measurement(DATABASE, b"c");
        assert_eq!(registry.measurement_count(DATABASE), 1);
        registry.forget_database(DATABASE);
        assert_eq!(registry.measurement_count(DATABASE), 0);
    }

    #[test]
    fn a_refused_claim_makes_no_field() {
        let mut registry = SchemaRegistry::default();
        let mut claim = |fields: &[(&[u8], FieldType)]| registry.claim(DATABASE, POLICY, GroupId(1), b"m", fields);
        claim(&[(b"v", FieldType::Float)]);
        let float = Some(Held { field_type: FieldType::Float, is_new: false });
        assert_eq!(claim(&[(b"w", FieldType::Float), (b"v", FieldType::Integer)]), [None, float]);
        let made = Some(Held { field_type: FieldType::String, is_new: true });
        assert_eq!(claim(&[(b"w", FieldType::String)]), [made]);
    }

    #[test]
    fn what_is_forgotten_may_change_its_type() {
        let mut registry = SchemaRegistry::default();
        let claim = |registry: &mut SchemaRegistry, asked| {
            registry.claim(DATABASE, POLICY, GroupId(1), b"m", &[(b"v", asked)])[0].unwrap().field_type
        };
        claim(&mut registry, FieldType::Float);
        registry.forget_measurement(DatabaseId(2), b"m");
        assert_eq!(claim(&mut registry, FieldType::String), FieldType::Float);
        registry.forget_measurement(DATABASE, b"m");
        assert_eq!(claim(&mut registry, FieldType::String), FieldType::String);
        registry.forget_group(DATABASE, POLICY, GroupId(1));
        assert_eq!(claim(&mut registry, FieldType::Boolean), FieldType::Boolean);
        registry.forget_database(DATABASE);
        assert_eq!(registry.fields(DATABASE, POLICY, GroupId(1), b"m"), None);
    }
}
