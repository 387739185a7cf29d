//! What must be in the engine, by what was written and what came of it.

use std::collections::BTreeMap;

use millrace::model::TimeRange;

/// One value: series (index of its key), time, field.
pub type Cell = (usize, i64, usize);
/// The field of booleans.
pub const BOOLEAN: usize = 4;
/// What was read: the value of each cell, as [`shown`].
pub type Found = BTreeMap<Cell, i64>;

/// What a field shows of a write's number.
pub fn shown(field: usize, number: i64) -> i64 {
    if field == BOOLEAN { number & 1 } else { number }
}

/// What is known of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// No answer yet, or an error that leaves it open: all of it may be there or nothing.
    Open,
    /// Acknowledged, or seen after a start.
    There,
    /// Refused, or missing after a start.
    Missing,
}

struct Write {
    cells: Vec<Cell>,
    /// It takes its cells' values away.
    is_deletion: bool,
    fate: Fate,
    /// Some of its cells may have been lost.
    in_parts: bool,
}

/// See the module. A cell is written by one task only, so its writes have an order.
#[derive(Default)]
pub struct Model {
    writes: Vec<Write>,
    cells: BTreeMap<Cell, Vec<usize>>,
    /// Times that are gone for good.
    dropped: Option<TimeRange>,
}

impl Model {
    /// A write begins; each of its cells gets the value returned.
    pub fn begin(&mut self, cells: impl FnOnce(i64) -> Vec<Cell>) -> i64 {
        self.enter(cells, false)
    }

    /// A deletion begins, of these cells.
    pub fn begin_deletion(&mut self, cells: Vec<Cell>) -> i64 {
        self.enter(|_| cells, true)
    }

    fn enter(&mut self, cells: impl FnOnce(i64) -> Vec<Cell>, is_deletion: bool) -> i64 {
        let number = self.writes.len();
        let mut cells = cells(number as i64);
        cells.sort_unstable();
        cells.dedup();
        for cell in &cells {
            self.cells.entry(*cell).or_default().push(number);
        }
        self.writes.push(Write { cells, is_deletion, fate: Fate::Open, in_parts: false });
        number as i64
    }

    /// The write that gave its cells `value` ended.
    pub fn end(&mut self, value: i64, fate: Fate) {
        self.writes[value as usize].fate = fate;
    }

    /// The catalog dropped the shard groups of these times.
    pub fn drop_times(&mut self, range: TimeRange) {
        self.dropped = Some(range);
    }

    fn is_dropped(&self, cell: Cell) -> bool {
        self.dropped.is_some_and(|dropped| dropped.contains(cell.1))
    }

    /// The power failed while writes were acknowledged before they were durable. They may even be there in part: a
    /// later frame of the log survives without the one that named its series.
    pub fn doubt_all(&mut self) {
        for write in self.writes.iter_mut().filter(|write| write.fate != Fate::Missing) {
            write.fate = Fate::Open;
            write.in_parts = true;
        }
    }

    /// A copy of what was promised until now, to hold a later answer against.
    pub fn promises(&self) -> Vec<Fate> {
        self.writes.iter().map(|write| write.fate).collect()
    }

    /// Whether `found`, read while nothing was lost, keeps the promises made before the read began.
    pub fn check_running(&self, found: &Found, promises: &[Fate]) {
        for (cell, history) in &self.cells {
            // What was promised after that may be there already.
            let fate = |number: usize| match promises.get(number) {
                Some(Fate::There) => Fate::There,
                Some(Fate::Missing) => Fate::Missing,
                _ => Fate::Open,
            };
            self.check_cell(*cell, history, found.get(cell).copied(), fate);
        }
        self.check_nothing_else(found);
    }

    /// Whether `found`, read after a start, keeps all promises; what was open is open no more.
    pub fn check_started(&mut self, found: &Found) {
        for (cell, history) in &self.cells {
            self.check_cell(*cell, history, found.get(cell).copied(), |number| self.writes[number].fate);
        }
        self.check_nothing_else(found);
        for number in 0..self.writes.len() {
            if self.writes[number].fate == Fate::Open {
                self.writes[number].fate = self.settle(number, found);
            }
        }
    }

    /// A cell holds the newest write that is there, or a newer open one; a deletion leaves nothing.
    fn check_cell(&self, cell: Cell, history: &[usize], found: Option<i64>, fate: impl Fn(usize) -> Fate) {
        if self.is_dropped(cell) {
            assert!(found.is_none(), "{cell:?} is {found:?} and was dropped");
            return;
        }
        let mut allowed = Vec::new();
        for &number in history.iter().rev() {
            let value = (!self.writes[number].is_deletion).then_some(shown(cell.2, number as i64));
            match fate(number) {
                Fate::Missing => {}
                Fate::Open => allowed.push(value),
                Fate::There => {
                    allowed.push(value);
                    break;
                }
            }
        }
        if !history.iter().any(|number| fate(*number) == Fate::There) {
            allowed.push(None);
        }
        assert!(allowed.contains(&found), "{cell:?} is {found:?} and may be {allowed:?}; its writes: {history:?}");
    }

    /// Whether a cell surely had a value when write `number` came.
    fn was_there_before(&self, cell: Cell, number: usize) -> bool {
        let before = self.cells[&cell].iter().rev().filter(|earlier| **earlier < number);
        let last = before.map(|earlier| &self.writes[*earlier]).find(|write| write.fate != Fate::Missing);
        last.is_some_and(|write| write.fate == Fate::There && !write.is_deletion)
    }

    /// Whether a deletion may have taken the value of write `number`.
    fn may_be_deleted_after(&self, cell: Cell, number: usize) -> bool {
        let mut after = self.cells[&cell].iter().filter(|later| **later > number).map(|later| &self.writes[*later]);
        after.any(|write| write.is_deletion && write.fate != Fate::Missing)
    }

    /// Whether everything that was found was written once.
    pub fn check_nothing_else(&self, found: &Found) {
        for (cell, value) in found {
            let is_it = |number: &usize| shown(cell.2, *number as i64) == *value;
            let is_known = self.cells.get(cell).is_some_and(|history| history.iter().any(is_it));
            assert!(is_known && !self.is_dropped(*cell), "{cell:?} = {value} was never written, or dropped");
        }
    }

    /// What became of an open write: its cells must agree, where a newer write does not hide them.
    fn settle(&self, number: usize, found: &Found) -> Fate {
        let is_deletion = self.writes[number].is_deletion;
        let evidence = |cell: &Cell| {
            let value = found.get(cell).map(|value| *value as usize);
            match value {
                Some(_) if cell.2 == BOOLEAN => None,
                Some(value) if value == number => Some(Fate::There),
                Some(value) if value > number => None,
                Some(_) => Some(Fate::Missing),
                None if is_deletion => (self.was_there_before(*cell, number)
                    && !self.may_be_deleted_after(*cell, number))
                .then_some(Fate::There),
                None => (!self.may_be_deleted_after(*cell, number)).then_some(Fate::Missing),
            }
        };
        let cells = self.writes[number].cells.iter().filter(|cell| !self.is_dropped(**cell));
        let mut fates: Vec<Fate> = cells.filter_map(evidence).collect();
        fates.dedup();
        if self.writes[number].in_parts {
            return Fate::Open;
        }
        assert!(fates.len() <= 1, "write {number} is there in part; it has {} cells", self.writes[number].cells.len());
        // Nothing tells of a deletion beside another one, or of a boolean; another write that nothing tells of can
        // never be seen again.
        let is_unclear = is_deletion || self.writes[number].cells.iter().any(|cell| cell.2 == BOOLEAN);
        fates.first().copied().unwrap_or(if is_unclear { Fate::Open } else { Fate::Missing })
    }
}

#[test]
#[should_panic(expected = "may be")]
fn a_lost_acknowledged_write_is_noticed() {
    let mut model = Model::default();
    let value = model.begin(|_| vec![(0, 1, 0)]);
    model.end(value, Fate::There);
    model.check_started(&Found::new());
}

#[test]
#[should_panic(expected = "in part")]
fn half_a_write_is_noticed() {
    let mut model = Model::default();
    let value = model.begin(|_| vec![(0, 1, 0), (0, 2, 0)]);
    model.check_started(&Found::from([((0, 1, 0), value)]));
}

#[test]
#[should_panic(expected = "may be")]
fn a_write_that_comes_back_is_noticed() {
    let mut model = Model::default();
    let value = model.begin(|_| vec![(0, 1, 0)]);
    model.check_started(&Found::new());
    model.check_started(&Found::from([((0, 1, 0), value)]));
}
