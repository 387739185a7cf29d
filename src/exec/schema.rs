//! Which measurements, fields and tag keys there are in a time range: what the asker needs before it can plan.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use roaring::RoaringBitmap;

use crate::exec::view::View;
use crate::model::Bytes;
use crate::model::DatabaseId;
use crate::model::FieldType;
use crate::model::PolicyId;
use crate::model::TimeRange;

/// Measurements by name or by regular expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MeasurementPattern {
    /// This one.
    Name(Bytes),
    /// All that match the text of this regular expression.
    Regex(String),
}

/// Asks for the schema of measurements of one policy.
#[derive(Clone, Debug)]
pub struct SchemaRequest {
    /// The database.
    pub database: DatabaseId,
    /// The retention policy.
    pub policy: PolicyId,
    /// Only data in this range counts.
    pub range: TimeRange,
    /// Which measurements.
    pub measurements: MeasurementPattern,
}

/// Schema of one measurement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MeasurementSchema {
    /// Types of each field, over all shard groups in range.
    pub fields: BTreeMap<Bytes, BTreeSet<FieldType>>,
    /// Keys of tags.
    pub tags: BTreeSet<Bytes>,
}

/// Schemas by measurement; one without data in range is not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schema {
    /// By name.
    pub measurements: BTreeMap<Bytes, MeasurementSchema>,
}

impl Schema {
    /// Joins what another core knows.
    pub fn merge(&mut self, other: Schema) {
        for (name, found) in other.measurements {
            let mine = self.measurements.entry(name).or_default();
            mine.tags.extend(found.tags);
            for (field, types) in found.fields {
                mine.fields.entry(field).or_default().extend(types);
            }
        }
    }
}

/// The schema as `views` know it.
pub async fn read<V: View>(views: &[V], request: &SchemaRequest) -> Result<Schema, String> {
    let regex = match &request.measurements {
        MeasurementPattern::Name(_) => None,
        MeasurementPattern::Regex(text) => Some(regex::bytes::Regex::new(text).map_err(|error| error.to_string())?),
    };
    let mut schema = Schema::default();
    for view in views {
        let mut present = RoaringBitmap::new();
        for partition in view.partitions(request.database, request.policy, request.range) {
            present |= partition.series;
        }
        let mut names: Vec<Bytes> = match (&request.measurements, &regex) {
            (MeasurementPattern::Name(name), _) => vec![name.clone()],
            (_, regex) => view
                .index(request.database, |index| {
                    let names = index.measurements().map(|measurement| measurement.name());
                    let wanted = |name: &&[u8]| regex.as_ref().is_some_and(|regex| regex.is_match(name));
                    names.filter(wanted).map(Bytes::from).collect()
                })
                .unwrap_or_default(),
        };
        if let Some(regex) = &regex {
            let bare = view.measurements_without_series(request.database, request.policy, request.range);
            names.extend(bare.into_iter().filter(|name| regex.is_match(name)));
        }
        for name in names {
            let one = measurement(view, request, &name, &present);
            if let Some(one) = one {
                schema.merge(Schema { measurements: BTreeMap::from([(name, one)]) });
            }
            view.yield_now().await;
        }
    }
    Ok(schema)
}

fn measurement<V: View>(
    view: &V,
    request: &SchemaRequest,
    name: &Bytes,
    present: &RoaringBitmap,
) -> Option<MeasurementSchema> {
    let mut schema = MeasurementSchema::default();
    view.index(request.database, |index| {
        let measurement = index.measurement(name)?;
        let series = measurement.series() & present;
        for (key, tag) in measurement.tag_keys() {
            if tag.values().any(|(_, with)| with.intersects(&series)) {
                schema.tags.insert(Bytes::from(key));
            }
        }
        Some(())
    });
    for (field, field_type) in view.fields(request.database, request.policy, name, request.range) {
        schema.fields.entry(field).or_default().insert(field_type);
    }
    let is_known = !schema.fields.is_empty() || !schema.tags.is_empty();
    is_known.then_some(schema)
}
