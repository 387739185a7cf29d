//! Rows of one demand from all sources of a SELECT, merged: fragments on the cores, and results of subqueries.

use std::collections::VecDeque;
use std::rc::Rc;

use crate::query::fabric::Fabric;
use crate::query::select::gather::Gather;
use crate::query::select::stream::Batch;
use crate::query::select::stream::GroupKey;
use crate::query::select::stream::Row;
use crate::query::select::stream::directed;

/// One source of rows.
pub enum Leaf<F> {
    /// Fragments.
    Gather(Box<Gather<F>>),
    /// Rows of a subquery, already in order.
    Memory(VecDeque<Batch>),
}

impl<F: Fabric> Leaf<F> {
    async fn next(&mut self) -> Result<Option<Batch>, String> {
        match self {
            Leaf::Gather(gather) => gather.next().await,
            Leaf::Memory(batches) => Ok(batches.pop_front()),
        }
    }
}

/// A leaf and the group it stands at.
struct Head<F> {
    leaf: Leaf<F>,
    at: Option<(Rc<GroupKey>, VecDeque<Row>)>,
    ended: bool,
}

/// See the module's doc.
pub struct Feed<F> {
    heads: Vec<Head<F>>,
    rows_descending: bool,
    descending: bool,
}

impl<F: Fabric> Feed<F> {
    /// A feed of `leaves`; rows of one instant come in their order.
    pub fn new(leaves: Vec<Leaf<F>>, rows_descending: bool, descending: bool) -> Feed<F> {
        let head = |leaf| Head { leaf, at: None, ended: false };
        Feed { heads: leaves.into_iter().map(head).collect(), rows_descending, descending }
    }

    /// The next rows of the next group; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Batch>, String> {
        if let [head] = &mut self.heads[..] {
            return head.leaf.next().await;
        }
        for head in &mut self.heads {
            while !head.ended && head.at.as_ref().is_none_or(|(_, rows)| rows.is_empty()) {
                match head.leaf.next().await? {
                    // Only row demands have several leaves, and those have one output.
                    Some(batch) => head.at = Some((batch.group, batch.outputs.into_iter().flatten().collect())),
                    None => (head.at, head.ended) = (None, true),
                }
            }
        }
        Ok(self.merge())
    }

    /// Merges until one of the leaves at the first group has no more rows at hand.
    fn merge(&mut self) -> Option<Batch> {
        let (descending, rows_descending) = (self.descending, self.rows_descending);
        let groups = self.heads.iter().filter_map(|head| head.at.as_ref().map(|(group, _)| group));
        let group = groups.min_by(|left, right| directed(*left, *right, descending))?.clone();
        let mut queues: Vec<&mut VecDeque<Row>> = self
            .heads
            .iter_mut()
            .filter_map(|head| head.at.as_mut().filter(|(other, _)| *other == group).map(|(_, rows)| rows))
            .collect();
        let mut rows = Vec::new();
        loop {
            let times = queues.iter().enumerate().filter_map(|(index, queue)| Some((queue.front()?.time, index)));
            // The first of equals: leaves keep their order within an instant.
            let next =
                times.min_by(|left, right| directed(&left.0, &right.0, rows_descending).then(left.1.cmp(&right.1)));
            let Some((_, index)) = next else { break };
            rows.extend(queues[index].pop_front());
            if queues[index].is_empty() {
                break;
            }
        }
        Some(Batch { group, outputs: vec![rows] })
    }
}
