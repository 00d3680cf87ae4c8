use super::*;
use crate::{
    arguments::{
        Command, Dev,
        cluster::{MetadataProcess, Server},
        group::LagDetail,
        records::{Codec, Produce},
    },
    units::Bytes,
};

fn read(arguments: &[&str], file: &str) -> Result<Arguments, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("aquifer.toml");
    std::fs::write(&path, file).unwrap();
    let arguments: Vec<OsString> = std::iter::once("aquifer")
        .chain(arguments.iter().copied())
        .map(Into::into)
        .collect();
    from(&arguments, Some(&path)).map_err(|error| match error {
        SettingsError::Arguments(error) => error.to_string(),
        SettingsError::File { reason, .. } => reason,
    })
}

fn dev(arguments: &[&str], file: &str) -> Dev {
    match read(arguments, file).unwrap().command {
        Command::Dev(dev) => dev,
        other => panic!("{other:?}"),
    }
}

fn produce(file: &str) -> Produce {
    match read(&["produce", "t"], file).unwrap().command {
        Command::Produce(produce) => produce,
        other => panic!("{other:?}"),
    }
}

/// What every process of a cluster needs.
const CLUSTER: &str = "postgres = \"postgres://u:hunter2@db/a\"\nbucket = \"file:///b\"\n\
                       cluster-secret = \"0123456789abcdef\"\n";

fn server(file: &str) -> Server {
    match read(&["server"], file).unwrap().command {
        Command::Server(server) => *server,
        other => panic!("{other:?}"),
    }
}

fn metadata(file: &str) -> MetadataProcess {
    match read(&["metadata"], file).unwrap().command {
        Command::Metadata(metadata) => metadata.process,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_commands_are_consistent() {
    Arguments::command().debug_assert();
}

#[test]
fn every_flag_is_an_environment_variable_too() {
    fn check(command: &clap::Command) {
        for argument in command.get_arguments() {
            if let Some(long) = argument.get_long()
                && long != "help"
                && long != "version"
            {
                let setting = match (command.get_name(), long) {
                    // What others are told of an agent (advertise) is no address of the metadata
                    // service, and both run with one environment: as `aquifer server` has them.
                    ("metadata", "listen" | "advertise") => format!("metadata-{long}"),
                    _ => long.to_owned(),
                };
                let expected = format!("AQUIFER_{}", setting.replace('-', "_").to_uppercase());
                assert_eq!(
                    argument.get_env().and_then(OsStr::to_str),
                    Some(expected.as_str()),
                    "{} --{long}",
                    command.get_name()
                );
            }
        }
        command.get_subcommands().for_each(check);
    }
    check(&Arguments::command());
}

#[test]
fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
    let file = "kafka-listen = \"127.0.0.1:1\"\nnode-ids = 3\nauto-create-topics = false\n";
    let dev = dev(&["dev", "--kafka-listen", "127.0.0.1:2"], file);
    assert_eq!(dev.kafka_listen.to_string(), "127.0.0.1:2");
    assert_eq!(dev.node_ids, 3);
    assert!(!dev.clients.auto_create_topics);
    assert_eq!(dev.http_listen.to_string(), "127.0.0.1:9644");
    assert_eq!(dev.clients.tuning.flush_bytes, Bytes(8 << 20));
}

#[test]
fn tables_are_for_one_command() {
    let file = "bootstrap = \"a:1\"\nlog = \"debug\"\n[produce]\ncompression = \"zstd\"\n\
                bootstrap = \"b:1\"\nquiet = true\nheader = [\"a=1\", \"a=2\"]\n\
                [topic.create]\npartitions = 5\n";
    let produce = produce(file);
    assert_eq!(produce.compression, Codec::Zstd);
    assert_eq!(produce.bootstrap.bootstrap, "b:1");
    let values: Vec<&str> = produce.header.iter().map(|h| h.value.as_str()).collect();
    assert_eq!(values, ["1", "2"]);
    assert!(produce.quiet);
    let create = read(&["topic", "create", "t"], file).unwrap();
    assert_eq!(create.log.as_deref(), Some("debug"));
    let text = format!("{:?}", create.command);
    assert!(text.contains("partitions: 5"), "{text}");
    assert!(text.contains("\"a:1\""), "{text}");
}

#[test]
fn what_is_unknown_or_wrong_is_refused_with_the_nearest_name() {
    for (file, says) in [
        ("kafka-listn = 1", "did you mean kafka-listen?"),
        (
            "[produce]\ncompresion = \"x\"",
            "in [produce]; did you mean compression?",
        ),
        ("[produc]\nx = 1", "[produc]; did you mean produce?"),
        ("[topic.creat]\n", "did you mean create?"),
        ("[dev]\nheader = \"a=b\"", "unknown setting header in [dev]"),
        ("kafka-listen = \"nonsense\"", "nonsense"),
        ("flush-bytes = \"8XB\"", "is no size"),
        ("config = \"x\"", "unknown setting config"),
        ("not toml", "TOML in line 1"),
        (
            "bootstrap = [\"a:1\", \"b:1\"]",
            "bootstrap takes one value",
        ),
    ] {
        let error = read(&["dev"], file).unwrap_err();
        assert!(error.contains(says), "{file:?}: {error}");
    }
}

#[test]
fn the_config_flag_is_found_wherever_it_stands() {
    let find = |arguments: &[&str]| {
        let arguments: Vec<OsString> = arguments.iter().map(|a| (*a).into()).collect();
        config_of(&arguments)
    };
    assert_eq!(find(&["aquifer", "--config", "x", "dev"]), Some("x".into()));
    assert_eq!(find(&["aquifer", "dev", "--config=y"]), Some("y".into()));
    assert_eq!(find(&["aquifer", "dev", "--", "--config=y"]), None);
    let odd = OsStr::from_bytes(b"--config=\xff").to_owned();
    let found = config_of(&["aquifer".into(), odd]);
    assert_eq!(found, Some(OsStr::from_bytes(b"\xff").into()));
}

#[test]
fn regression_what_is_required_may_stand_in_the_file() {
    let server = server(CLUSTER);
    assert_eq!(server.postgres.postgres, "postgres://u:hunter2@db/a");
    assert_eq!(server.bucket.bucket, "file:///b");
    let metadata = metadata(CLUSTER);
    let database = metadata.postgres.as_deref();
    assert_eq!(database, Some("postgres://u:hunter2@db/a"));
    assert_eq!(metadata.bucket.as_deref(), Some("file:///b"));
    let file = format!("{CLUSTER}[agent]\nmetadata = [\"a:1\", \"b:1\"]\n");
    match read(&["agent"], &file).unwrap().command {
        Command::Agent(agent) => assert_eq!(agent.metadata, ["a:1", "b:1"]),
        other => panic!("{other:?}"),
    }
    for arguments in [["metadata", "status"], ["bucket", "check"]] {
        let command = read(&arguments, CLUSTER).unwrap().command;
        assert!(format!("{command:?}").contains("file:///b"), "{command:?}");
    }
    // What is not there is missed as ever.
    for (arguments, missing) in [(["agent"], "--metadata"), (["metadata"], "--postgres")] {
        let error = read(&arguments, "bucket = \"file:///b\"\n").unwrap_err();
        assert!(error.contains(missing), "{error}");
    }
    let error = read(&["agent"], "[agent]\nmetadata = []\n").unwrap_err();
    assert!(error.contains("--metadata"), "{error}");
}

#[test]
fn regression_secrets_in_the_file_are_not_shown() {
    for command in ["server", "metadata", "agent"] {
        let file = format!("{CLUSTER}client-setting = \"sasl.password=hunter2\"\n");
        let help = read(&[command, "--help"], &file).unwrap_err();
        assert!(help.contains("file:///b"), "{help}");
        for secret in ["hunter2", "0123456789abcdef"] {
            assert!(!help.contains(secret), "{help}");
        }
    }
    let help = read(&["produce", "--help"], "client-setting = \"a=hunter2\"").unwrap_err();
    assert!(help.contains("--client-setting") && !help.contains("hunter2"));
    let error = read(&["server"], "log = \"info\"\npostgres = \"hunter2\n").unwrap_err();
    assert!(error.contains("in line 2"), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn regression_a_secret_that_is_set_twice_is_refused_with_both_sources() {
    let file = format!("{CLUSTER}cluster-secret-file = \"f\"\n");
    let (text, path) = (
        "cluster-secret in the settings file",
        "cluster-secret-file in the settings file",
    );
    for (arguments, file, sources) in [
        (&["server"][..], file.as_str(), [text, path]),
        (&["metadata"], &file, [text, path]),
        (
            &["server", "--cluster-secret-file", "f"],
            CLUSTER,
            [text, "--cluster-secret-file"],
        ),
        (
            &["server", "--cluster-secret", "s"],
            &file,
            ["by --cluster-secret", path],
        ),
        (
            &[
                "agent",
                "--metadata=a:1",
                "--cluster-secret=s",
                "--cluster-secret-file=f",
            ],
            "bucket = \"file:///b\"",
            ["by --cluster-secret", "--cluster-secret-file"],
        ),
    ] {
        let error = read(arguments, file).unwrap_err();
        for source in sources {
            assert!(error.contains(source), "{arguments:?}: {error}");
        }
    }
    read(&["metadata", "status"], &file).expect("it needs no secret");
}

#[test]
fn regression_one_file_serves_agents_and_metadata_processes() {
    let both = "advertise = \"agent-1\"\nmetadata-advertise = \"metadata-1\"\n";
    let file = format!("{CLUSTER}{both}");
    let host = |advertised: &Option<crate::address::Advertised>| {
        advertised
            .as_ref()
            .map(|advertised| advertised.host.clone())
    };
    let server = server(&file);
    assert_eq!(host(&server.serving.advertise).as_deref(), Some("agent-1"));
    let inside = host(&server.metadata_advertise);
    assert_eq!(inside.as_deref(), Some("metadata-1"));
    let advertise = host(&metadata(&file).advertise);
    assert_eq!(advertise.as_deref(), Some("metadata-1"));
    // In its own table the flag's name says enough.
    let file = format!("{file}[metadata]\nadvertise = \"metadata-2\"\nlisten = \":1\"\n");
    let metadata = metadata(&file);
    assert_eq!(host(&metadata.advertise).as_deref(), Some("metadata-2"));
    assert_eq!(metadata.listen.to_string(), "0.0.0.0:1");
}

#[test]
fn broker_configs_stand_in_the_file_and_are_checked() {
    let file = "broker-config = [\"log.retention.hours=24\", \"num.partitions=3\"]\n";
    let configs = dev(&["dev"], file).clients.broker_configs.broker_config;
    let names: Vec<&str> = configs.iter().map(|config| config.key.as_str()).collect();
    assert_eq!(names, ["log.retention.hours", "num.partitions"]);
    let server = server(&format!("{CLUSTER}{file}"));
    assert_eq!(server.serving.clients.broker_configs.broker_config, configs);
    let metadata = metadata(&format!("{CLUSTER}{file}"));
    assert_eq!(metadata.broker_configs.broker_config, configs);
    let error = read(&["dev"], "broker-config = \"log.retention.hour=24\"\n").unwrap_err();
    assert!(
        error.contains("did you mean log.retention.hours?"),
        "{error}"
    );
}

#[test]
fn what_is_said_of_new_topics_alters_none() {
    let file = "partitions = 5\ntopic-config = \"retention.ms=1\"\n";
    let altered = read(&["topic", "alter", "t"], file).unwrap().command;
    let text = format!("{altered:?}");
    assert!(text.contains("new_partitions: None"), "{text}");
    assert!(text.contains("set_config: []"), "{text}");
}

#[test]
fn the_sql_projection_is_off_until_it_is_asked_for() {
    let off = metadata(CLUSTER).projection;
    assert!(!off.sql_projection);
    assert_eq!(off.sql_projection_schema.as_str(), "aquifer_projection");
    let file = "sql-projection = true\nsql-projection-schema = \"of_prod\"\nsql-projection-interval = \"30s\"\n";
    let file = format!("{CLUSTER}{file}");
    for on in [metadata(&file).projection, server(&file).projection] {
        assert!(on.sql_projection);
        assert_eq!(on.sql_projection_schema.as_str(), "of_prod");
        assert_eq!(on.sql_projection_interval.0.as_secs(), 30);
    }
    for (wrong, says) in [
        ("sql-projection-schema = \"Prod\"", "small letters"),
        ("sql-projection-interval = \"0s\"", "more than 0"),
    ] {
        let error = read(&["server"], &format!("{CLUSTER}{wrong}\n")).unwrap_err();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn lag_is_told_by_group_unless_something_else_is_set() {
    assert_eq!(dev(&["dev"], "").groups.group_lag_metrics, LagDetail::Group);
    let file = format!("{CLUSTER}group-lag-metrics = \"topic\"\n");
    assert_eq!(server(&file).groups.group_lag_metrics, LagDetail::Topic);
    assert_eq!(metadata(&file).groups.group_lag_metrics, LagDetail::Topic);
    let flag = ["dev", "--group-lag-metrics=off"];
    assert_eq!(dev(&flag, &file).groups.group_lag_metrics, LagDetail::Off);
    let error = read(&["dev"], "group-lag-metrics = \"all\"").unwrap_err();
    assert!(error.contains("partition"), "{error}");
}

#[test]
fn offsets_are_shifted_back_by_negative_numbers() {
    let arguments = [
        "group",
        "reset-offsets",
        "g",
        "-t",
        "t:0,1",
        "--shift-by",
        "-5",
    ];
    let command = read(&arguments, "").unwrap().command;
    let text = format!("{command:?}");
    assert!(text.contains("shift_by: Some(-5)"), "{text}");
    assert!(text.contains("partitions: [0, 1]"), "{text}");
    assert!(text.contains("execute: false"), "{text}");
}
