//! Partial aggregates of a fragment, group by group, window by window.
//!
//! Each group is computed in passes ([`crate::exec::pass`]), and handed out in chunks.

use std::collections::VecDeque;
use std::rc::Rc;

use crate::exec::aggregate::Partial;
use crate::exec::fragment::FieldRef;
use crate::exec::fragment::Fragment;
use crate::exec::fragment::Part;
use crate::exec::fragment::PartData;
use crate::exec::fragment::Windows;
use crate::exec::fragment::Work;
use crate::exec::pass::Pass;
use crate::exec::reader::Meter;
use crate::exec::reader::ReadPlan;
use crate::exec::rows::CHUNK_BYTES;
use crate::exec::select::Group;
use crate::exec::states::Ready;
use crate::exec::view::View;
use crate::model::TimeRange;
use crate::model::Timestamp;

/// States of one chunk.
const CHUNK_STATES: usize = 4096;

/// The windows of a fragment on one core, being computed.
pub struct WindowScan {
    fragment: Rc<Fragment>,
    plan: Rc<ReadPlan>,
    groups: VecDeque<Group>,
    /// Group, what further passes look at, states not yet sent.
    current: Option<(Group, Option<TimeRange>, Ready)>,
}

impl WindowScan {
    /// A scan of `groups`.
    pub fn new(fragment: Rc<Fragment>, groups: Vec<Group>, filter_fields: &[FieldRef], meter: Rc<Meter>) -> WindowScan {
        // Values that only travel with a selector make no row.
        let required = match &fragment.work {
            Work::Windows { calls, .. } => calls.iter().map(|call| call.field + 1).max().unwrap_or(0),
            Work::Rows { required, .. } => *required,
        };
        let plan = Rc::new(ReadPlan::new(&fragment.fields, filter_fields, required, meter));
        WindowScan { fragment, plan, groups: groups.into(), current: None }
    }

    /// The next parts; empty at the end.
    pub async fn next<V: View>(&mut self, views: &[V]) -> Result<Vec<Part>, String> {
        let fragment = self.fragment.clone();
        let Work::Windows { window, calls, carried } = &fragment.work else { return Ok(Vec::new()) };
        let mut parts = Vec::new();
        let (mut states, mut bytes) = (0, 0);
        while states < CHUNK_STATES && bytes < CHUNK_BYTES {
            let (group, mut next, mut ready) = match self.current.take() {
                Some(current) => current,
                None => match self.groups.pop_front() {
                    Some(group) => (group, Some(fragment.range), Ready::default()),
                    None => break,
                },
            };
            if ready.is_empty() {
                let Some(range) = next.take() else { continue };
                let mut pass = Pass::new(&fragment, &self.plan, window, calls, carried, range);
                for series in &group.series {
                    pass.read(views, series).await?;
                }
                (ready, next) = pass.finish();
            }
            let mut data = Windows { starts: Vec::new(), partials: vec![Vec::new(); calls.len()] };
            while states < CHUNK_STATES && bytes < CHUNK_BYTES {
                let Some(start) = ready.next_into(&mut data.partials) else { break };
                data.starts.push(start);
                states += calls.len();
                bytes += data.partials.iter().filter_map(|of_call| Some(of_call.last()?.byte_count())).sum::<usize>();
            }
            bytes += 64 + group.tags.iter().map(|tag| tag.len() + 16).sum::<usize>();
            if !data.starts.is_empty() {
                parts.push(Part { group: group.tags.clone(), data: PartData::Windows(data) });
            }
            if next.is_some() || !ready.is_empty() {
                self.current = Some((group, next, ready));
            }
        }
        Ok(parts)
    }

    /// Whether nothing is left.
    pub fn is_done(&self) -> bool {
        self.current.is_none() && self.groups.is_empty()
    }

    /// About how much memory it holds between two chunks, without the list of its series.
    pub fn held_bytes(&self) -> usize {
        let states = self.current.as_ref().map_or(0, |(_, _, states)| states.len());
        states * (size_of::<Timestamp>() + self.call_count() as usize * size_of::<Partial>())
    }

    /// How many calls it computes.
    pub fn call_count(&self) -> u64 {
        match &self.fragment.work {
            Work::Windows { calls, .. } => calls.len() as u64,
            Work::Rows { .. } => 0,
        }
    }
}
