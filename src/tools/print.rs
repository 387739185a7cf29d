//! Reports and inventories as text for people. Names of clients may hold anything; nothing of them reaches a terminal
//! as it is.

use std::io;
use std::io::Write;

use comfy_table::CellAlignment;
use comfy_table::LineStyle;
use comfy_table::Table;
use comfy_table::TableStyle;

use crate::tools::inspect::BlockUsage;
use crate::tools::inspect::Inventory;
use crate::tools::report::Damage;
use crate::tools::report::Report;
use crate::tools::usage::Columns;
use crate::tools::usage::Usage;

/// One line under the head: tables of thousands of rows are read, not looked at.
const STYLE: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// What `verify` found, damage first.
pub fn report(report: &Report, out: &mut impl Write) -> io::Result<()> {
    damage("damaged", &report.damage, report.damage_count, out)?;
    for note in &report.notes {
        writeln!(out, "note: {}: {}", shown(&note.file), shown(&note.what))?;
    }
    if report.note_count > report.notes.len() as u64 {
        writeln!(out, "note: and {} more", report.note_count - report.notes.len() as u64)?;
    }
    let checked = &report.checked;
    writeln!(
        out,
        "{}: {} files, {}: {} series, {} segments with {} blocks and {} rows, {} points in logs",
        shown(&report.directory),
        checked.files,
        size(checked.bytes),
        checked.series,
        checked.segments,
        checked.blocks,
        checked.rows,
        checked.log_points
    )?;
    match report.damage_count {
        0 => writeln!(out, "sound"),
        1 => writeln!(out, "damaged in 1 place"),
        count => writeln!(out, "damaged in {count} places"),
    }
}

fn damage(word: &str, list: &[Damage], count: u64, out: &mut impl Write) -> io::Result<()> {
    for Damage { file, offset, bytes, what } in list {
        writeln!(out, "{word}: {} at byte {offset} ({bytes} bytes): {}", shown(file), shown(what))?;
    }
    if count > list.len() as u64 {
        writeln!(out, "{word}: and {} more places", count - list.len() as u64)?;
    }
    Ok(())
}

/// What takes how much.
pub fn inventory(inventory: &Inventory, out: &mut impl Write) -> io::Result<()> {
    let Inventory { directory, shards, bytes, .. } = inventory;
    writeln!(out, "{}: {shards} shards, {}\n", shown(directory), size(*bytes))?;
    writeln!(out, "Segments\n{}\n", groups(inventory))?;
    writeln!(out, "Columns of all segments\n{}\n", columns(&inventory.segments.columns))?;
    let Usage { presence_bytes, block_overhead_bytes, index_bytes, padding_bytes, .. } = inventory.segments;
    writeln!(
        out,
        "Beside them: {} for rows without a value, {} in blocks, {} of indexes, {} of footers and padding\n",
        size(presence_bytes),
        size(block_overhead_bytes),
        size(index_bytes),
        size(padding_bytes)
    )?;
    writeln!(out, "Series\n{}\n", series(inventory))?;
    writeln!(out, "Logs\n{}\n", logs(inventory))?;
    let (series_logs, manifests, leftover) = (&inventory.series_logs, &inventory.manifests, &inventory.leftover);
    writeln!(out, "Series logs: {} records, {}", series_logs.records, size(series_logs.bytes))?;
    let (records, tombstones) = (manifests.records, manifests.tombstones);
    writeln!(out, "Manifests: {records} records, {}; deletions in them: {tombstones}", size(manifests.bytes))?;
    if leftover.segments > 0 {
        let (count, bytes) = (leftover.segments, size(leftover.bytes));
        writeln!(out, "Left over: {count} segments, {bytes}; the next start removes them")?;
    }
    damage("unreadable", &inventory.unreadable, inventory.unreadable_count, out)
}

fn groups(inventory: &Inventory) -> Table {
    let mut table = table(
        ["database", "policy", "group", "segments", "bytes", "rows", "B/row", "blocks", "series", "first", "last"],
        3,
    );
    for database in &inventory.databases {
        for policy in &database.policies {
            for group in policy.groups.iter().filter(|group| group.segments.segments > 0) {
                add_usage(&mut table, &database.name, &policy.name, &group.id.to_string(), &group.segments);
            }
            add_usage(&mut table, &database.name, &policy.name, "all", &policy.segments);
        }
    }
    add_usage(&mut table, "all", "", "", &inventory.segments);
    table
}

fn add_usage(table: &mut Table, database: &str, policy: &str, group: &str, usage: &Usage) {
    let per_row = if usage.rows == 0 { String::new() } else { ratio(usage.bytes as f64 / usage.rows as f64) };
    table.add_row([
        shown(database),
        shown(policy),
        group.to_owned(),
        usage.segments.to_string(),
        usage.bytes.to_string(),
        usage.rows.to_string(),
        per_row,
        usage.blocks.to_string(),
        usage.series.to_string(),
        usage.first_time.map(time).unwrap_or_default(),
        usage.last_time.map(time).unwrap_or_default(),
    ]);
}

fn columns(columns: &Columns) -> Table {
    let mut table = table(["type", "codec", "columns", "values", "bytes", "B/value", "8 B : 1"], 2);
    for ((field_type, codec), column) in &columns.0 {
        table.add_row([
            (*field_type).to_owned(),
            (*codec).to_owned(),
            column.blocks.to_string(),
            column.values.to_string(),
            column.bytes.to_string(),
            column.bytes_per_value().map(ratio).unwrap_or_default(),
            column.ratio().map(ratio).unwrap_or_default(),
        ]);
    }
    table
}

fn series(inventory: &Inventory) -> Table {
    let mut table = table(["database", "series", "measurements"], 1);
    for database in &inventory.databases {
        table.add_row([shown(&database.name), database.series.to_string(), database.measurements.to_string()]);
    }
    table
}

fn logs(inventory: &Inventory) -> Table {
    let mut table = table(["file", "bytes", "commits", "records", "points", "deletions", "torn"], 1);
    for log in &inventory.logs {
        let numbers = [log.bytes, log.frames, log.records, log.points, log.deletions, log.torn_bytes];
        table.add_row(std::iter::once(shown(&log.file)).chain(numbers.iter().map(u64::to_string)));
    }
    table
}

/// Texts on the left, numbers on the right.
fn table<const N: usize>(heads: [&str; N], text_columns: usize) -> Table {
    let mut table = Table::new();
    table.load_style(STYLE).set_header(heads);
    for column in table.column_iter_mut().skip(text_columns) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// The heads of [`block`].
pub const BLOCK_HEADS: &str =
    "series  offset+bytes  rows  first .. last  time codec:bytes  field type codec:bytes(values) ...";

/// One block of a segment, on one line.
pub fn block(block: &BlockUsage, out: &mut impl Write) -> io::Result<()> {
    let BlockUsage { series, offset, bytes, rows, first_time, last_time, time_codec, time_bytes, .. } = block;
    write!(out, "{series}  {offset}+{bytes}  {rows}  {} .. {}", time(*first_time), time(*last_time))?;
    if let Some(problem) = &block.problem {
        return writeln!(out, "  unreadable: {problem}");
    }
    write!(out, "  {time_codec}:{time_bytes}")?;
    for column in &block.columns {
        let (measurement, field) = (shown(&column.measurement), shown(&column.field));
        write!(out, "  {measurement}.{field} {} {}:{}({})", column.r#type, column.codec, column.bytes, column.values)?;
    }
    writeln!(out)
}

fn time(ns: i64) -> String {
    // Out of the range of the calendar the number says enough.
    jiff::Timestamp::from_nanosecond(ns.into()).map_or_else(|_| ns.to_string(), |time| time.to_string())
}

fn ratio(value: f64) -> String {
    format!("{value:.2}")
}

fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

/// Without control characters.
fn shown(text: &str) -> String {
    text.chars()
        .flat_map(|letter| if letter.is_control() { letter.escape_default().collect() } else { vec![letter] })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(print: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        print(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn damage_is_named_by_file_offset_and_check() {
        let mut found = Report::new("dir".to_owned());
        assert!(text(|out| report(&found, out)).ends_with("\nsound\n"));
        found.damage("shard-0001/00000001.seg", 4096, 17, "block checksum");
        found.note("x\u{1b}[2J", "not a file of Millrace");
        let text = text(|out| report(&found, out));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "damaged: shard-0001/00000001.seg at byte 4096 (17 bytes): block checksum");
        assert_eq!(lines[1], "note: x\\u{1b}[2J: not a file of Millrace");
        assert_eq!(lines[3], "damaged in 1 place");
    }
}
