//! Lookups on all cores as one sorted stream: the next page of a core is asked for when its last one is used up.

use std::collections::BTreeSet;
use std::collections::VecDeque;

use crate::exec;
use crate::exec::lookup::Entry;
use crate::exec::lookup::Request;
use crate::model::Bytes;
use crate::query::fabric::Fabric;
use crate::stdx::join::join_all;

/// The entries of some lookups on every core, in order, each key once.
pub(super) struct Pages<F> {
    fabric: F,
    sources: Vec<Source>,
}

/// One lookup on one core.
struct Source {
    core: usize,
    request: Request,
    entries: VecDeque<Entry>,
    /// The core has told everything.
    finished: bool,
}

impl<F: Fabric> Pages<F> {
    /// Each of `requests` on every core.
    pub fn new(fabric: &F, requests: &[Request]) -> Pages<F> {
        let on_all = |request: &Request| {
            let request = request.clone();
            (0..fabric.core_count()).map(move |core| Source {
                core,
                request: request.clone(),
                entries: VecDeque::new(),
                finished: false,
            })
        };
        Pages { fabric: fabric.clone(), sources: requests.iter().flat_map(on_all).collect() }
    }

    /// The measurements of all entries.
    pub async fn measurements(mut self) -> Result<BTreeSet<Bytes>, String> {
        let mut names = BTreeSet::new();
        while let Some(entry) = self.next().await? {
            names.insert(entry.key.measurement);
        }
        Ok(names)
    }

    /// The next entry; what several cores say of one key is joined.
    pub async fn next(&mut self) -> Result<Option<Entry>, String> {
        while self.sources.iter().any(Source::is_dry) {
            self.refill().await?;
        }
        let heads = self.sources.iter().filter_map(|source| source.entries.front());
        let Some(first) = heads.map(|entry| &entry.key).min().cloned() else { return Ok(None) };
        let mut joined: Option<Entry> = None;
        for source in &mut self.sources {
            if source.entries.front().is_some_and(|entry| entry.key == first) {
                let entry = source.entries.pop_front();
                joined = match (joined, entry) {
                    (Some(mut joined), Some(entry)) => {
                        joined.number = source.request.ask.join(joined.number, entry.number);
                        Some(joined)
                    }
                    (joined, entry) => joined.or(entry),
                };
            }
        }
        Ok(joined)
    }

    /// Asks all cores that have run dry, at once.
    async fn refill(&mut self) -> Result<(), String> {
        let fabric = &self.fabric;
        let dry = self.sources.iter().enumerate().filter(|(_, source)| source.is_dry());
        let answers = join_all(dry.map(|(index, source)| async move {
            let request = exec::Request::Lookup(Box::new(source.request.clone()));
            (index, fabric.ask(source.core, request).await)
        }))
        .await;
        for (index, answer) in answers {
            match answer.map_err(|error| error.to_string())? {
                exec::Response::Lookup(page) => {
                    let source = &mut self.sources[index];
                    source.entries.extend(page.entries);
                    source.finished = page.next.is_none();
                    source.request.after = page.next;
                }
                exec::Response::Failed(error) => return Err(error),
                _ => return Err("a core answered something else than it was asked".to_owned()),
            }
        }
        Ok(())
    }
}

impl Source {
    fn is_dry(&self) -> bool {
        self.entries.is_empty() && !self.finished
    }
}
