//! The layers together, and the schema against what is read and what is documented.

use std::path::Path;

use super::guide::{self, tables};
use super::schema::{Form, Key, StrategyKind};
use super::sections::SECTIONS;
use super::topology::STRATEGIES;
use super::*;

/// A configuration: a file, variables, options.
fn loaded(file: &str, env: &[(&str, &str)], options: &[(&'static str, &str)]) -> Result<Settings, Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gusset.toml");
    std::fs::write(&path, file).unwrap();
    let values = options.iter().map(|(name, text)| (*name, Raw::Word((*text).to_owned()))).collect();
    let options = Options { file: Some((path, Source::Option("config"))), values };
    load(options, &Environment::of(env)).map_err(|problems| short(problems, folder.path()))
}

/// Without the folder of the file, which nobody can foresee.
fn short(problems: Vec<String>, folder: &Path) -> Vec<String> {
    let folder = format!("{}/", folder.display());
    problems.into_iter().map(|problem| problem.replace(&folder, "")).collect()
}

#[track_caller]
fn wrong(file: &str, env: &[(&str, &str)], options: &[(&'static str, &str)]) -> Vec<String> {
    match loaded(file, env, options) {
        Ok(_) => panic!("nothing is wrong with {file:?} {env:?} {options:?}"),
        Err(problems) => problems,
    }
}

/// What became of a key, and from where.
#[track_caller]
fn of(settings: &Settings, section: &str, key: &str) -> (String, String) {
    let all = shown(settings);
    let found = all.iter().find(|shown| shown.section == section && shown.key == key);
    let found = found.unwrap_or_else(|| panic!("{section}.{key} is not shown"));
    let file = found.source.rsplit('/').next().unwrap_or_default();
    (found.value.clone().unwrap_or_default(), file.to_owned())
}

fn pair(value: &str, source: &str) -> (String, String) {
    (value.to_owned(), source.to_owned())
}

#[test]
fn later_layers_win_key_by_key_and_each_value_knows_its_source() {
    let file = "[node]\nbasename = \"f\"\nnet_ticktime = 8\n[listen]\nport = 9100\n[http]\nready_stable = 1.5\n";
    let env = [
        ("RELEASE_NAME", "e"),
        ("GUSSET__LISTEN__PORT", "9200-9300"),
        ("GUSSET__NODE__HIDDEN", "true"),
        ("GUSSET_HTTP", ""),
    ];
    let settings = loaded(file, &env, &[("net-ticktime", "9")]).unwrap();
    assert_eq!(of(&settings, "node", "basename"), pair("\"e\"", "RELEASE_NAME"));
    assert_eq!(of(&settings, "node", "net_ticktime"), pair("9", "--net-ticktime"));
    assert_eq!(of(&settings, "listen", "port"), pair("\"9200-9300\"", "GUSSET__LISTEN__PORT"));
    assert_eq!(of(&settings, "node", "hidden"), pair("true", "GUSSET__NODE__HIDDEN"));
    assert_eq!(of(&settings, "http", "ready_stable"), pair("1.5", "gusset.toml:7"));
    assert_eq!(of(&settings, "http", "drain_delay"), pair("5", "default"));
    assert_eq!(of(&settings, "http", "address"), pair("", ""));
    assert_eq!(settings.epmd_port, 4369);
}

#[test]
fn what_says_the_same_in_another_way_is_beaten_by_a_later_layer() {
    let settings =
        loaded("[node]\nsname = \"a\"\nmode = \"ip\"\n", &[], &[("name", "b@h.x"), ("name-template", "{ip}@x")])
            .unwrap();
    assert_eq!((settings.name.name.as_deref(), settings.name.sname), (Some("b@h.x"), None));
    assert_eq!(settings.name.naming.template.to_string(), "{ip}@x");
    let settings = loaded("[node]\ncookie = \"file\"", &[("GUSSET_COOKIE_FILE", "/x")], &[]).unwrap();
    assert!(matches!(settings.cookie, Some(GivenCookie::File(_))));
    let both = [("RELEASE_COOKIE", "a"), ("GUSSET_COOKIE_FILE", "/x")];
    assert!(matches!(loaded("", &both, &[]).unwrap().cookie, Some(GivenCookie::Text(..))));
    let general = [("RELEASE_NODE", "r@h.x"), ("GUSSET__NODE__SNAME", "s")];
    assert_eq!(loaded("", &general, &[]).unwrap().name.sname.as_deref(), Some("s"));
    let problems = wrong("[node]\nname = \"a@h.x\"\nsname = \"b\"\n", &[], &[]);
    assert_eq!(problems, ["gusset.toml:2: node: `name` cannot be used with `sname` (gusset.toml:3)"]);
    assert_eq!(wrong("", &[], &[("name", "a@h.x"), ("sname", "b")]), ["--name cannot be used with --sname"]);
}

#[test]
fn all_that_is_wrong_is_told_at_once_with_its_place_and_what_may_be_meant() {
    let file = "\
basename = \"x\"
[nod]
[node]
basname = \"x\"
hidden = \"maybe\"
cookie = 7
[listen]
port = 70000
[topologies.main]
strategy = \"kubernets\"
[topologies.other]
[topologies.dns]
query = \"q\"
mod = \"ip\"
selector = \"app=x\"
";
    let env = [
        ("GUSSET__LISTEN__PROT", "1"),
        ("GUSSET__LISTN__PORT", "1"),
        ("GUSSET__TOPOLOGIES__MODE", "ip"),
        ("ERL_EPMD_PORT", "0"),
    ];
    let problems = wrong(file, &env, &[("drain-delay", "soon")]).join("\n");
    for expected in [
        "gusset.toml:1: `basename` belongs into the section [node]",
        "gusset.toml:2: there is no section `nod`; did you mean `node`?",
        "gusset.toml:4: [node] has no key `basname`; did you mean `basename`?",
        "gusset.toml:5: node.hidden: true or false is wanted",
        "gusset.toml:6: node.cookie: text is wanted: write it in quotes",
        "gusset.toml:8: listen.port: `70000` is no port",
        "gusset.toml:10: topologies.main.strategy: `kubernets` is none of kubernetes, dns,",
        "did you mean `kubernetes`?",
        "gusset.toml:11: topologies.other has no `strategy`",
        "gusset.toml:14: a topology with strategy `dns` has no key `mod`; did you mean `mode`?",
        "gusset.toml:15: a topology with strategy `dns` has no key `selector`",
        "GUSSET__LISTEN__PROT: [listen] has no key `prot`; did you mean `port`?",
        "GUSSET__LISTN__PORT: there is no section `listn`; did you mean `listen`?",
        "GUSSET__TOPOLOGIES__MODE: a variable for a topology is GUSSET__TOPOLOGIES__NAME__KEY",
        "ERL_EPMD_PORT: `0` is no port from 1 to 65535",
        "--drain-delay: `soon` is no number of seconds",
    ] {
        assert!(problems.contains(expected), "{expected:?} is not in:\n{problems}");
    }
    let problems = wrong("[node]\ncookie = \"hush\"\ncookie = \"hush\"\n[x", &[], &[]).join("\n");
    assert!(problems.contains("gusset.toml:3: this is no TOML") && problems.contains("gusset.toml:4"), "{problems}");
    assert!(!problems.contains("hush"), "{problems}");
}

#[test]
fn a_file_that_was_asked_for_has_to_be_there() {
    let options = Options {
        file: Some(("not_there.toml".into(), Source::Variable("GUSSET_CONFIG".into()))),
        ..Options::default()
    };
    let problems = load(options, &Environment::default()).err().unwrap();
    assert!(problems[0].starts_with("GUSSET_CONFIG: cannot read not_there.toml"), "{problems:?}");
}

/// The names of the topologies in use.
fn topologies(file: &str, env: &[(&str, &str)], options: &[(&'static str, &str)]) -> Vec<String> {
    loaded(file, env, options).unwrap().topologies.into_iter().map(|topology| topology.name).collect()
}

#[test]
fn which_topologies_there_are() {
    let file = "[topologies.gossip]\n[topologies.main]\nstrategy = \"hosts\"\n";
    assert_eq!(topologies("", &[], &[]), ["local-epmd"]);
    assert_eq!(topologies("", &[], &[("connect", "a@b")]), ["static"]);
    assert_eq!(topologies("[listen]\nepmd = \"none\"\nport = 1\n", &[], &[]), [""; 0]);
    assert_eq!(topologies(file, &[], &[]), ["gossip", "main"]);
    assert_eq!(topologies(file, &[], &[("connect", "a@b")]), ["gossip", "main", "static"]);
    assert_eq!(topologies(file, &[], &[("discover", "none")]), [""; 0]);
    assert_eq!(topologies(file, &[], &[("discover", "main,local-epmd")]), ["main", "local-epmd"]);
    assert_eq!(topologies(file, &[("GUSSET__DISCOVERY__DISCOVER", "gossip")], &[]), ["gossip"]);
    assert_eq!(topologies("", &[("GUSSET__TOPOLOGIES__LOCAL_EPMD__EPMD_PORT", "7")], &[]), ["local-epmd"]);
    assert_eq!(topologies("", &[("GUSSET__TOPOLOGIES__MINE__STRATEGY", "gossip")], &[]), ["mine"]);
    let problems = wrong(file, &[], &[("discover", "gosip")]);
    assert!(problems[0].starts_with("--discover: `gosip` is none of kubernetes, "), "{problems:?}");
    assert!(problems[0].ends_with("did you mean `gossip`?"), "{problems:?}");
    // An option that nobody listens to.
    let problems = wrong(file, &[], &[("dns-query", "q")]);
    assert!(problems[0].starts_with("--dns-query: it is for a topology of the name dns"), "{problems:?}");
}

#[test]
fn variables_reach_a_topology_whatever_letters_its_name_has() {
    let file = "[topologies.My-App]\nstrategy = \"gossip\"\nport = 1\n";
    let settings = loaded(file, &[("GUSSET__TOPOLOGIES__MY_APP__PORT", "2")], &[]).unwrap();
    assert_eq!(of(&settings, "topologies.My-App", "port"), pair("2", "GUSSET__TOPOLOGIES__MY_APP__PORT"));
}

#[cfg(feature = "dns")]
#[test]
fn options_are_about_the_topology_that_is_named_like_its_strategy() {
    let file = "[topologies.dns]\nquery = \"f\"\n[topologies.main]\nstrategy = \"dns\"\nquery = \"m\"\n";
    let settings = loaded(file, &[], &[("dns-query", "o"), ("basename", "b")]).unwrap();
    assert_eq!(of(&settings, "topologies.dns", "query"), pair("\"o\"", "--dns-query"));
    assert_eq!(of(&settings, "topologies.main", "query"), pair("\"m\"", "gusset.toml:5"));
    assert_eq!(of(&settings, "topologies.dns", "basename"), pair("\"b\"", "--basename"));
    assert_eq!(topologies("", &[], &[("dns-query", "q")]), ["dns"]);
}

#[cfg(feature = "dns")]
#[test]
fn this_node_and_its_peers_are_named_by_one_rule() {
    let naming = |file: &str, env: &[(&str, &str)]| {
        let naming = loaded(file, env, &[]).unwrap().name.naming;
        (naming.basename, naming.template.to_string())
    };
    let ip = "{basename}@{ip}".to_owned();
    let dns = "{basename}@{ip_dashed}.{namespace}.pod.{domain}".to_owned();
    assert_eq!(naming("", &[]), ("gusset".to_owned(), dns.clone()));
    let file = "[topologies.main]\nstrategy = \"dns\"\nquery = \"q\"\nbasename = \"b\"\n";
    assert_eq!(naming(file, &[]), ("b".to_owned(), ip.clone()));
    assert_eq!(naming(file, &[("RELEASE_NAME", "own")]), ("own".to_owned(), ip));
    assert_eq!(naming(file, &[("GUSSET__NODE__MODE", "dns")]), ("b".to_owned(), dns));
}

#[cfg(feature = "kubernetes")]
#[test]
fn keys_of_libcluster_are_taken() {
    let file = "\
[topologies.main]
strategy = \"Elixir.Cluster.Strategy.Kubernetes\"
[topologies.main.config]
kubernetes_node_basename = \"myapp\"
kubernetes_selector = \"app=myapp\"
kubernetes_namespace = \"prod\"
kubernetes_cluster_name = \"k8s\"
polling_interval = 10_000
";
    let settings = loaded(file, &[], &[]).unwrap();
    let main = |key| of(&settings, "topologies.main", key);
    assert_eq!(main("basename"), pair("\"myapp\"", "gusset.toml:4"));
    assert_eq!(main("selector"), pair("\"app=myapp\"", "gusset.toml:5"));
    assert_eq!(main("cluster_domain"), pair("\"k8s.local\"", "gusset.toml:7"));
    assert_eq!(main("mode"), pair("\"ip\"", "default of libcluster's Kubernetes"));
    assert_eq!(main("lookup"), pair("\"endpoints\"", "default of libcluster's Kubernetes"));
    let notes = settings.notes.join("\n");
    assert!(notes.contains("`kubernetes_selector` is libcluster's word; here it is `selector`"), "{notes}");
    assert!(notes.contains("`polling_interval` has no effect: the API is watched"), "{notes}");
    assert_eq!(settings.name.naming.basename, "myapp");

    let twice = format!("{file}kubernetes_master = \"x\"\nselector = \"x\"\nconnect = \"f\"\n");
    let problems = wrong(&twice, &[], &[]).join("\n");
    assert!(problems.contains("`kubernetes_master` cannot be given: the API is found by"), "{problems}");
    assert!(
        problems.contains("gusset.toml:10: ") && problems.contains("`kubernetes_selector` and `selector` are the same"),
        "{problems}"
    );
    assert!(problems.contains("`connect` cannot be given: it names a function of Elixir"), "{problems}");
    let problems = wrong("[topologies.a]\nstrategy = \"Cluster.Strategy.Rancher\"\n", &[], &[]).join("\n");
    assert!(problems.contains("Rancher is not there any more"), "{problems}");
}

#[cfg(feature = "kubernetes")]
#[test]
fn what_cannot_work_with_a_lookup_is_said() {
    let with =
        |keys: &str| loaded(&format!("[topologies.kubernetes]\n{keys}"), &[], &[]).err().unwrap_or_default().join("\n");
    assert_eq!(with("selector = \"a=b\"\n"), "");
    assert_eq!(with("service = \"web\"\n"), "");
    assert_eq!(with("sources = [\"a=b\", \"x:c=d\", { selector = \"e=f\" }]\n"), "");
    assert!(with("").contains("which pods are nodes?"));
    assert!(with("service = \"web\"\nlookup = \"pods\"\n").contains("--kubernetes-selector app=myapp"));
    assert!(with("sources = []\n").contains("`sources` is empty"));
    assert!(with("selector = \"a=b\"\nrelease_label = \"x\"\n").contains("use the lookup `pods`"));
    assert_eq!(with("selector = \"a=b\"\nlookup = \"pods\"\nrelease_label = \"x\"\n"), "");
    assert!(with("selector = \"a=b\"\nsources = [\"a=b\"]\n").contains("`selector` cannot be used with `sources`"));
}

/// Keys that a strategy cannot do without.
const NEEDED: &[(&str, &str)] = &[
    ("kubernetes", "selector = \"a=b\"\nlookup = \"pods\"\n"),
    ("dns", "query = \"q\"\n"),
    ("auto", "selector = \"a=b\"\nlookup = \"pods\"\nquery = \"q\"\n"),
    ("epmd", "nodes = [\"a@b\"]\n"),
    ("file", "path = \"p\"\n"),
];

/// Every key, its place, and a file with all that the place needs but this key.
fn every_key() -> Vec<(String, &'static Key, String)> {
    let sections = SECTIONS.iter().flat_map(|section| section.keys.iter().map(move |key| (section, key)));
    let sections = sections.map(|(section, key)| (section.name.to_owned(), key, format!("[{}]\n", section.name)));
    let kinds =
        STRATEGIES.iter().filter(|kind| is_built(kind)).flat_map(|kind| kind.keys().map(move |key| (kind, key)));
    let kinds = kinds.map(|(kind, key)| {
        let needed = NEEDED.iter().find(|(name, _)| *name == kind.name).map(|(_, keys)| *keys).unwrap_or_default();
        let taken = |line: &&str| {
            let name = line.split(' ').next().unwrap_or_default();
            name != key.name && !key.rivals.contains(&name)
        };
        let needed: String = needed.lines().filter(taken).map(|line| format!("{line}\n")).collect();
        (format!("topologies.{}", kind.name), key, format!("[topologies.{}]\n{needed}", kind.name))
    });
    sections.chain(kinds).collect()
}

fn is_built(kind: &StrategyKind) -> bool {
    match kind.name {
        "kubernetes" => cfg!(feature = "kubernetes"),
        "auto" => cfg!(all(feature = "kubernetes", feature = "dns")),
        "dns" => cfg!(feature = "dns"),
        "gossip" => cfg!(feature = "gossip"),
        "file" => cfg!(feature = "file"),
        _ => true,
    }
}

#[test]
fn every_key_of_the_schema_is_read() {
    for (section, key, file) in every_key() {
        let file = format!("{file}{} = 1979-05-27\n", key.name);
        let problems = wrong(&file, &[], &[]).join("\n");
        assert!(problems.contains(&format!("{section}.{}: ", key.name)), "{section}.{}: {problems}", key.name);
    }
}

#[test]
fn every_default_and_example_and_choice_is_one() {
    for (section, key, file) in every_key() {
        let mut values = vec![guide::value(key)];
        values.extend(key.choices.iter().map(|(choice, _)| format!("\"{choice}\"")));
        for value in values {
            let file = format!("{file}{} = {value}\n", key.name);
            let problems = loaded(&file, &[], &[]).err().unwrap_or_default().join("\n");
            // A cookie or a secret in a file that is not there, and EPMD `none` without a port, are other matters.
            let read = !problems.contains(&format!("{section}.{}: ", key.name))
                || problems.contains("cannot read")
                || problems.contains("without EPMD");
            assert!(read, "{section}.{} = {value}: {problems}", key.name);
            assert!(!problems.contains("has no key"), "{problems}");
        }
    }
}

#[test]
fn names_lead_to_one_key_each() {
    for kind in STRATEGIES {
        let mut names: Vec<&str> =
            kind.keys().flat_map(|key| std::iter::once(key.name).chain(key.aliases.iter().map(|it| it.0))).collect();
        names.extend(kind.foreign.iter().map(|(name, _)| *name));
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count, "{}", kind.name);
        for (preset, values) in kind.names {
            assert!(values.iter().all(|(key, _)| kind.keys().any(|known| known.name == *key)), "{preset}");
        }
    }
    for (_, key, _) in every_key() {
        assert!(
            key.form == Form::Flag || key.default.is_some() || !key.example.is_empty(),
            "{} has no example",
            key.name
        );
    }
}

#[test]
fn the_example_file_has_every_key_and_can_be_used() {
    let example = example();
    assert!(loaded(&example, &[], &[]).is_ok(), "all of it is commented out");
    let shown = include_str!("../../docs/gusset.toml") == example;
    assert!(shown, "docs/gusset.toml is not what is printed by: gusset config example > docs/gusset.toml");
    for (section, key, _) in every_key() {
        let shared = section == "topologies.auto";
        assert!(
            shared || example.contains(&format!("\n# {} = {}\n", key.name, guide::value(key))),
            "{section}.{}",
            key.name
        );
    }
}

#[test]
fn the_documentation_has_every_key() {
    let guide = include_str!("../../docs/configuration.md");
    for (heading, table) in tables::of_all() {
        let start =
            guide.find(&format!("### {heading}\n")).unwrap_or_else(|| panic!("no heading {heading}\n\n{table}"));
        let rest = &guide[start + 4..];
        let section = rest.find("\n### ").map_or(rest, |end| &rest[..end]);
        assert!(section.contains(&table), "docs/configuration.md, {heading}: the table has to be\n\n{table}");
    }
}
