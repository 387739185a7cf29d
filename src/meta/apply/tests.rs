use super::*;
use crate::meta::alignment::DAY;
use crate::meta::alignment::HOUR;
use crate::meta::catalog::Privilege;
use crate::meta::command::Dropped;
use crate::meta::command::NewPolicy;
use crate::meta::command::PolicyChange;
use crate::model::DatabaseId;
use crate::model::GroupId;
use crate::model::PolicyId;

/// A catalog under test: commands in, the text of the refusal or nothing out.
#[derive(Default)]
struct World(Catalog);

impl World {
    fn run(&mut self, command: Command) -> Result<Outcome, String> {
        let (next, outcome) = apply(&self.0, &command, 0).map_err(|error| error.to_string())?;
        assert_eq!(outcome.changed, next.version == self.0.version + 1);
        self.0 = next;
        Ok(outcome)
    }

    #[track_caller]
    fn ok(&mut self, command: Command) -> Outcome {
        self.run(command).expect("allowed")
    }

    #[track_caller]
    fn refused(&mut self, command: Command, text: &str) {
        let before = self.0.clone();
        assert_eq!(self.run(command), Err(text.to_owned()));
        assert_eq!(self.0, before);
    }

    fn policies(&self, database: &str) -> Vec<(&str, i64, i64, bool)> {
        let database = self.0.database(database).expect("it exists");
        let policies = database.policies.iter();
        policies
            .map(|p| (&*p.name, p.duration / HOUR, p.shard_group_duration / HOUR, p.name == database.default_policy))
            .collect()
    }
}

fn create(name: &str) -> Command {
    Command::CreateDatabase { name: name.to_owned(), policy: None }
}

fn create_with(name: &str, policy: NewPolicy) -> Command {
    Command::CreateDatabase { name: name.to_owned(), policy: Some(policy) }
}

fn policy(name: &str, duration: i64) -> NewPolicy {
    NewPolicy { name: Some(name.to_owned()), duration: Some(duration), ..NewPolicy::default() }
}

fn create_policy(policy: NewPolicy, default: bool) -> Command {
    Command::CreatePolicy { database: "d".to_owned(), policy, default }
}

fn alter(name: &str, change: PolicyChange) -> Command {
    Command::AlterPolicy { database: "d".to_owned(), name: name.to_owned(), change }
}

fn groups(database: u32, policy: u32, times: &[i64]) -> Command {
    Command::CreateGroups { database: DatabaseId(database), policy: PolicyId(policy), times: times.to_vec() }
}

#[test]
fn a_database_is_created_once_and_keeps_its_place() {
    let mut world = World::default();
    assert!(world.ok(create("b")).changed);
    assert!(world.ok(create("a b-c'")).changed);
    assert!(!world.ok(create("b")).changed);
    let names: Vec<&str> = world.0.databases().iter().map(|database| &*database.name).collect();
    assert_eq!(names, ["b", "a b-c'"]);
    assert_eq!(world.policies("b"), [("autogen", 0, 168, true)]);
    for name in ["", ".", "..", "a/b", "a\\b", "a\nb", "a\u{a0}b", "a\u{200b}"] {
        world.refused(create(name), "invalid name");
    }
}

#[test]
fn identities_are_never_used_again() {
    let mut world = World::default();
    world.ok(create("a"));
    let dropped = world.ok(Command::DropDatabase { name: "a".to_owned() }).dropped;
    assert_eq!(dropped, [Dropped::Database(DatabaseId(1))]);
    assert!(!world.ok(Command::DropDatabase { name: "a".to_owned() }).changed);
    world.ok(create("a"));
    let database = world.0.database("a").expect("it is back");
    assert_eq!((database.id, database.policies[0].id), (DatabaseId(2), PolicyId(2)));
}

#[test]
fn a_database_with_a_policy_repeats_only_as_it_was() {
    let mut world = World::default();
    let conflict = "retention policy conflicts with an existing policy";
    world.ok(create_with("d", NewPolicy { shard_duration: Some(HOUR), ..policy("p", 2 * DAY) }));
    assert_eq!(world.policies("d"), [("p", 48, 1, true)]);
    assert!(!world.ok(create("d")).changed);
    world.ok(create_with("d", NewPolicy { shard_duration: Some(HOUR), ..policy("p", 2 * DAY) }));
    world.refused(create_with("d", policy("p", 2 * DAY)), conflict);
    world.refused(create_with("d", policy("q", 2 * DAY)), conflict);
    world.refused(create_with("new", policy("p", HOUR / 2)), "retention policy duration must be at least 1h0m0s");
    let long = NewPolicy { shard_duration: Some(2 * DAY), ..policy("p", DAY) };
    world.refused(create_with("new", long), "retention policy duration must be greater than the shard duration");
    world.refused(create_with("new", policy("a/b", DAY)), "invalid name");
    world.ok(create_with("unnamed", policy("", DAY)));
    assert_eq!(world.policies("unnamed"), [("autogen", 24, 1, true)]);
}

#[test]
fn without_autocreate_a_database_has_no_policy() {
    let mut world = World::default();
    world.0.options.retention_autocreate = false;
    world.ok(create("d"));
    assert!(world.0.database("d").expect("made").policy("").is_none());
    world.ok(create_policy(policy("p", DAY), false));
    assert_eq!(world.policies("d"), [("p", 24, 1, false)]);
}

#[test]
fn a_policy_repeats_only_as_it_was() {
    let mut world = World::default();
    world.refused(create_policy(policy("p", DAY), false), "database not found: d");
    world.ok(create("d"));
    world.refused(create_policy(policy("", DAY), false), "invalid name");
    world.ok(create_policy(policy("p", DAY), false));
    assert!(!world.ok(create_policy(policy("p", DAY), false)).changed);
    world.refused(create_policy(policy("p", 2 * DAY), false), "retention policy already exists");
    let conflict = "retention policy conflicts with an existing policy";
    world.refused(create_policy(policy("p", DAY), true), conflict);
    world.ok(create_policy(NewPolicy { shard_duration: Some(HOUR / 2), ..policy("r", 0) }, true));
    assert_eq!(world.policies("d"), [("autogen", 0, 168, false), ("p", 24, 1, false), ("r", 0, 1, true)]);
}

#[test]
fn alter_keeps_the_shard_duration_unless_told() {
    let mut world = World::default();
    world.ok(create("d"));
    let duration = |duration| PolicyChange { duration: Some(duration), ..PolicyChange::default() };
    let shard = |duration| PolicyChange { shard_duration: Some(duration), ..PolicyChange::default() };
    let too_long = "retention policy duration must be greater than the shard duration";
    world.refused(alter("nope", duration(DAY)), "retention policy not found: nope");
    world.refused(alter("autogen", duration(DAY)), too_long);
    world.refused(alter("autogen", duration(1)), "retention policy duration must be at least 1h0m0s");
    world.ok(alter("autogen", shard(HOUR / 2)));
    world.ok(alter("autogen", duration(3 * DAY)));
    assert_eq!(world.policies("d"), [("autogen", 72, 1, true)]);
    world.refused(alter("autogen", shard(4 * DAY)), too_long);
    world.ok(alter("autogen", shard(0)));
    assert_eq!(world.policies("d"), [("autogen", 72, 24, true)]);
    world.ok(create_policy(policy("p", DAY), false));
    world.ok(alter("", shard(2 * HOUR)));
    assert_eq!(world.policies("d"), [("autogen", 72, 2, true), ("p", 24, 1, false)]);
    world.ok(alter("p", PolicyChange { default: true, ..PolicyChange::default() }));
    assert_eq!(world.0.database("d").expect("made").default_policy, "p");
}

#[test]
fn dropping_the_default_policy_leaves_its_name() {
    let mut world = World::default();
    world.ok(create("d"));
    let drop = |name: &str| Command::DropPolicy { database: "d".to_owned(), name: name.to_owned() };
    assert!(!world.ok(drop("nope")).changed);
    assert_eq!(world.ok(drop("autogen")).dropped, [Dropped::Policy(DatabaseId(1), PolicyId(1))]);
    let database = world.0.database("d").expect("still there");
    assert_eq!(database.default_policy, "autogen");
    assert!(database.policy("").is_none());
    world.refused(alter("", PolicyChange::default()), "retention policy not found: ");
    world.ok(Command::DropPolicy { database: "nope".to_owned(), name: "autogen".to_owned() });
}

#[test]
fn groups_are_made_where_they_are_missing() {
    let mut world = World::default();
    world.ok(create("d"));
    let made = world.ok(groups(1, 1, &[0, 1, -4 * DAY, 10 * DAY])).created;
    let spans: Vec<(u64, i64, i64)> =
        made.iter().map(|group| (group.id.0, group.start / DAY, group.end / DAY)).collect();
    assert_eq!(spans, [(1, -3, 4), (2, -10, -3), (3, 4, 11)]);
    assert!(!world.ok(groups(1, 1, &[0, 10 * DAY])).changed);
    let policy = &world.0.database("d").expect("made").policies[0];
    assert_eq!(policy.group_for(4 * DAY - 1).map(|group| group.id), Some(GroupId(1)));
    assert_eq!(policy.group_for(4 * DAY).map(|group| group.id), Some(GroupId(3)));
    assert_eq!(policy.group_for(11 * DAY), None);
    assert!(policy.groups.is_sorted_by_key(|group| group.start));
    assert!(!world.ok(groups(1, 1, &[i64::MAX])).changed);
    world.refused(groups(7, 1, &[0]), "database not found: ");
}

#[test]
fn groups_never_overlap_after_a_change_of_their_length() {
    let mut world = World::default();
    world.ok(create("d"));
    let shard = |duration| PolicyChange { shard_duration: Some(duration), ..PolicyChange::default() };
    world.ok(alter("autogen", shard(DAY)));
    world.ok(groups(1, 1, &[0]));
    world.ok(alter("autogen", shard(7 * DAY)));
    let made = world.ok(groups(1, 1, &[-1, DAY])).created;
    let spans: Vec<(i64, i64)> = made.iter().map(|group| (group.start / DAY, group.end / DAY)).collect();
    assert_eq!(spans, [(-3, 0), (1, 4)]);
    let mut time = i64::MAX - 1;
    for duration in [HOUR, 7 * DAY, 3 * DAY, 5 * HOUR] {
        world.ok(alter("autogen", shard(duration)));
        for step in 0..50_i64 {
            time = time.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(step);
            world.ok(groups(1, 1, &[time / 100_000]));
        }
        let policy = &world.0.database("d").expect("made").policies[0];
        assert!(policy.groups.windows(2).all(|pair| pair[0].end <= pair[1].start));
    }
}

#[test]
fn expired_groups_go_and_successors_come() {
    let mut world = World::default();
    world.ok(create("d"));
    world.ok(create_policy(policy("p", DAY), false));
    world.ok(groups(1, 2, &[0, HOUR, 2 * HOUR]));
    world.ok(groups(1, 1, &[0]));
    let (next, outcome) = apply(&world.0, &Command::ExpireGroups, 2 * HOUR + DAY + 1).expect("always");
    assert_eq!(outcome.dropped.len(), 2);
    assert_eq!(next.database("d").expect("made").policies[1].groups.len(), 1);
    let advance = Command::PrecreateGroups { advance_ns: HOUR / 2 };
    assert!(apply(&world.0, &advance, 2 * HOUR).expect("always").1.created.is_empty());
    let (next, outcome) = apply(&world.0, &advance, 3 * HOUR - HOUR / 4).expect("always");
    assert_eq!(outcome.created.iter().map(|group| group.start).collect::<Vec<_>>(), [3 * HOUR]);
    assert!(apply(&next, &advance, 3 * HOUR - HOUR / 4).expect("always").1.created.is_empty());
    let dropped = world.ok(Command::DropGroups { groups: vec![GroupId(1), GroupId(99)] }).dropped;
    assert_eq!(dropped, [Dropped::Group(DatabaseId(1), PolicyId(2), GroupId(1))]);
}

#[test]
fn a_grant_replaces_and_a_revocation_clears_bits() {
    let mut world = World::default();
    world.ok(create("d"));
    let user = || "u".to_owned();
    let grant = |database: &str, privilege| Command::Grant { user: user(), database: database.to_owned(), privilege };
    let revoke = |database: &str, privilege| Command::Revoke { user: user(), database: database.to_owned(), privilege };
    world.refused(grant("nope", Privilege::Read), "user not found");
    let new = || Command::CreateUser { name: user(), hash: "h".to_owned(), admin: false };
    world.ok(new());
    world.refused(new(), "user already exists");
    world.refused(grant("nope", Privilege::Read), "database not found: nope");
    let given = |world: &World| world.0.user("u").expect("made").privilege("d");
    assert_eq!(given(&world), None);
    world.ok(revoke("d", Privilege::Write));
    assert_eq!(given(&world), Some(Privilege::None));
    world.ok(grant("d", Privilege::Read));
    world.ok(grant("d", Privilege::Write));
    assert_eq!(given(&world), Some(Privilege::Write));
    world.ok(grant("d", Privilege::All));
    world.ok(revoke("d", Privilege::Read));
    assert_eq!(given(&world), Some(Privilege::Write));
    world.ok(Command::DropDatabase { name: "d".to_owned() });
    assert_eq!(given(&world), None);
    world.ok(Command::SetAdmin { user: user(), admin: true });
    assert!(world.0.has_admin() && world.0.user("u").expect("made").may(Privilege::Write, "any"));
    world.ok(Command::DropUser { name: user() });
    world.refused(Command::DropUser { name: user() }, "user not found");
    world.refused(Command::SetPassword { name: user(), hash: "h".to_owned() }, "user not found");
    world.refused(Command::CreateUser { name: String::new(), hash: "h".to_owned(), admin: false }, "username required");
}

#[test]
fn continuous_queries_repeat_in_any_case_of_letters() {
    let mut world = World::default();
    let query = |text: &str| Command::CreateContinuousQuery {
        database: "d".to_owned(),
        name: "c".to_owned(),
        text: text.to_owned(),
    };
    world.refused(query("T"), "database not found: d");
    world.ok(create("d"));
    world.ok(query("Text"));
    assert!(!world.ok(query("tEXT")).changed);
    world.refused(query("other"), "continuous query already exists");
    let drop = || Command::DropContinuousQuery { database: "d".to_owned(), name: "c".to_owned() };
    assert!(world.ok(drop()).changed);
    assert!(!world.ok(drop()).changed);
}

#[test]
fn subscriptions_need_a_known_scheme_and_a_port() {
    let mut world = World::default();
    world.ok(create("d"));
    let subscribe = |policy: &str, name: &str, url: &str| Command::CreateSubscription {
        database: "d".to_owned(),
        policy: policy.to_owned(),
        name: name.to_owned(),
        any: false,
        destinations: vec![url.to_owned()],
    };
    for url in ["http://a", "127.0.0.1:19099", "foo://127.0.0.1:19099", "udp://127.0.0.1", "", "http://a:", "udp://a:b"]
    {
        world.refused(subscribe("autogen", "s", url), &format!("invalid subscription URL: {url}"));
    }
    world.refused(subscribe("nope", "s", "udp://h:1"), "retention policy not found: nope");
    for (name, url) in [("1", "udp://h:1"), ("2", "https://u:p@h:1/x"), ("3", "http://[::1]:80")] {
        world.ok(subscribe("autogen", name, url));
    }
    world.refused(subscribe("autogen", "1", "udp://h:1"), "subscription already exists");
    let drop = |name: &str| Command::DropSubscription {
        database: "d".to_owned(),
        policy: "autogen".to_owned(),
        name: name.to_owned(),
    };
    world.ok(drop("1"));
    world.refused(drop("1"), "subscription not found");
}
