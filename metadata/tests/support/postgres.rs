//! A real Postgres server for tests and benches, started in a temporary folder.
//!
//! One file, two homes: this crate's own tests include it, and so does the crate of the whole-cluster
//! tests, which no crate may depend on.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each of the crates that include it uses a part"
)]

use std::{
    fs,
    io::Write,
    net::TcpListener,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicU32, Ordering},
    },
    thread::sleep,
    time::Duration,
};

/// Runs the server as a child for as long as the pipe on its input is open, so that it ends with this
/// process however that ends.
const KEEPER: &str = r#"
exec 3<&0
"$@" </dev/null 3<&- &
pid=$!
read -r _ <&3
kill -INT "$pid" 2>/dev/null
wait "$pid"
"#;

const START_SECONDS: u64 = 120;

/// A running server. Dropping it stops it and removes its files.
#[derive(Debug)]
pub struct PostgresServer {
    folder: tempfile::TempDir,
    programs: PathBuf,
    /// User and group that the server runs as, where this process is root (which Postgres refuses).
    user: Option<(u32, u32)>,
    port: u16,
    keeper: Mutex<Option<Child>>,
    databases: AtomicU32,
}

impl PostgresServer {
    /// The server that all tests of this process share: started by the first that asks, stopped with
    /// the last that holds it.
    ///
    /// # Panics
    /// As [`PostgresServer::start`].
    #[must_use]
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<PostgresServer>> = Mutex::new(Weak::new());
        let mut shared = SHARED
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(server) = shared.upgrade() {
            return server;
        }
        let server = Arc::new(Self::start());
        *shared = Arc::downgrade(&server);
        server
    }

    /// Starts a server of its own, with fsync on.
    ///
    /// # Panics
    /// If Postgres is not installed (says what to install) or does not start (shows its log).
    #[must_use]
    pub fn start() -> Self {
        let programs = programs();
        let folder = tempfile::Builder::new()
            .prefix("aquifer-postgres-")
            .tempdir()
            .expect("a temporary folder can be made");
        let user = unprivileged_user();
        if let Some((uid, gid)) = user {
            chown(folder.path(), Some(uid), Some(gid)).expect("root may give a folder away");
        }
        let server = Self {
            folder,
            programs,
            user,
            port: free_port(),
            keeper: Mutex::new(None),
            databases: AtomicU32::new(0),
        };
        let data = server.data();
        let data = data.to_str().expect("temporary folders have plain names");
        server.run(
            "initdb",
            &[
                "-D",
                data,
                "-U",
                "postgres",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--locale=C",
                "--no-sync",
            ],
        );
        server.launch();
        server
    }

    /// The address of a new, empty database.
    ///
    /// # Panics
    /// If the server is not there.
    #[must_use]
    pub fn create_database(&self) -> Database {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        let name = format!("journal_{number}");
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        Database {
            url: self.url(&name),
            name,
        }
    }

    /// The address of a database.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// One of Postgres' programs.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Runs statements and returns what they print: fields separated by `|`, a line per row.
    ///
    /// # Panics
    /// If one fails.
    pub fn sql(&self, database: &str, statements: &str) -> String {
        let port = self.port.to_string();
        self.run(
            "psql",
            &[
                "-X",
                "-q",
                "-A",
                "-t",
                "-v",
                "ON_ERROR_STOP=1",
                "-h",
                "127.0.0.1",
                "-p",
                &port,
                "-U",
                "postgres",
                "-d",
                database,
                "-c",
                statements,
            ],
        )
    }

    /// Changes a setting; returns when new sessions have it.
    ///
    /// # Panics
    /// If the setting can't be changed without a restart.
    pub fn set(&self, name: &str, value: &str) {
        let mut file = fs::OpenOptions::new()
            .append(true)
            .open(self.data().join("postgresql.conf"))
            .expect("initdb wrote it");
        writeln!(file, "{name} = {value}").expect("the folder is ours");
        self.sql("postgres", "SELECT pg_reload_conf()");
        for _ in 0..500 {
            if self.sql("postgres", &format!("SHOW {name}")) == value {
                return;
            }
            sleep(Duration::from_millis(20));
        }
        panic!("{name} did not become {value}; the log:\n{}", self.log());
    }

    /// Ends the server's processes at once, without a checkpoint, as a crash would.
    ///
    /// # Panics
    /// If it is not running.
    pub fn crash(&self) {
        Command::new("kill")
            .args(["-QUIT", &self.first_pid()])
            .status()
            .expect("kill is there");
        self.stop();
        // A stale one would look like that of a server that is up.
        fs::remove_file(self.data().join("postmaster.pid")).ok();
    }

    /// Stops every process of the server where it is: connections stay open, and nobody answers.
    ///
    /// # Panics
    /// If it is not running.
    pub fn pause(&self) {
        self.signal_all("STOP");
    }

    /// Lets them go on.
    ///
    /// # Panics
    /// If it is not running.
    pub fn resume(&self) {
        self.signal_all("CONT");
    }

    /// Signals the server's first process and its children; again for those that began meanwhile.
    fn signal_all(&self, signal: &str) {
        for _ in 0..2 {
            let first = self.first_pid();
            let all = std::iter::once(first.clone()).chain(children(&first));
            let status = Command::new("kill")
                .arg(format!("-{signal}"))
                .args(all)
                .stderr(Stdio::null())
                .status();
            // a child that has ended meanwhile makes it fail for that one only
            status.expect("kill is there");
        }
    }

    fn first_pid(&self) -> String {
        let file = fs::read_to_string(self.data().join("postmaster.pid"));
        let file = file.expect("it is running");
        file.lines()
            .next()
            .expect("its first line is the pid")
            .to_owned()
    }

    /// Starts it again on the same data and port.
    ///
    /// # Panics
    /// If it does not start.
    pub fn restart(&self) {
        self.launch();
    }

    /// A copy of the data folder of a server that is not running.
    ///
    /// # Panics
    /// If it cannot be copied.
    #[must_use]
    pub fn copy(&self) -> PathBuf {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        let copy = self.folder.path().join(format!("copy-{number}"));
        copy_folder(&self.data(), &copy);
        copy
    }

    /// Puts a copy in the place of the data folder of a server that is not running.
    ///
    /// # Panics
    /// If it cannot be copied.
    pub fn put_back(&self, copy: &Path) {
        fs::remove_dir_all(self.data()).expect("the folder is ours");
        copy_folder(copy, &self.data());
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// A command that runs as the server's user.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.folder.path()).env("LC_ALL", "C");
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }

    fn run(&self, program: &str, arguments: &[&str]) -> String {
        let output = self
            .command(&self.program(program))
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|e| panic!("cannot run {program}: {e}"));
        assert!(
            output.status.success(),
            "{program} failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned()
    }

    fn launch(&self) {
        let log = fs::File::create(self.folder.path().join("log")).expect("the folder is ours");
        let socket = format!("unix_socket_directories={}", self.folder.path().display());
        let keeper = self
            .command(Path::new("/bin/sh"))
            .args(["-c", KEEPER, "keeper"])
            .arg(self.programs.join("postgres"))
            .arg("-D")
            .arg(self.data())
            .args(["-p", &self.port.to_string()])
            .args([
                "-c",
                "listen_addresses=127.0.0.1",
                "-c",
                &socket,
                "-c",
                "fsync=on",
            ])
            .args(["-c", "max_connections=300", "-c", "shared_buffers=64MB"])
            .stdin(Stdio::piped())
            .stdout(log.try_clone().expect("a handle can be copied"))
            .stderr(log)
            .spawn()
            .expect("a shell is there");
        *self.keeper.lock().expect("nobody panics with it") = Some(keeper);
        for _ in 0..START_SECONDS * 50 {
            let pid = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
            if pid
                .lines()
                .nth(7)
                .is_some_and(|status| status.trim() == "ready")
            {
                return;
            }
            sleep(Duration::from_millis(20));
        }
        panic!(
            "postgres did not start in {START_SECONDS} s; its log:\n{}",
            self.log()
        );
    }

    fn stop(&self) {
        let keeper = self
            .keeper
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take();
        if let Some(mut keeper) = keeper {
            // The end of its input makes the keeper stop the server.
            drop(keeper.stdin.take());
            keeper.wait().ok();
        }
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A database of a test's own.
#[derive(Clone, Debug)]
pub struct Database {
    /// Its address.
    pub url: String,
    /// Its name.
    pub name: String,
}

/// The processes whose parent this one is.
fn children(parent: &str) -> Vec<String> {
    let folders = fs::read_dir("/proc").expect("there is /proc");
    let is_child = |pid: &String| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // pid (name) state parent: the name may have spaces and parentheses
        let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        rest.split_whitespace().nth(1) == Some(parent)
    };
    let names = folders.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let pids = names.filter(|name| name.bytes().all(|c| c.is_ascii_digit()));
    pids.filter(is_child).collect()
}

/// Owners and rights included.
fn copy_folder(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(
        copied.expect("cp is there").success(),
        "{} cannot be copied",
        from.display()
    );
}

/// The folder with the newest Postgres programs.
fn programs() -> PathBuf {
    let mut folders: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let version = path.file_name()?.to_str()?.parse().ok()?;
            Some((version, path.join("bin")))
        })
        .filter(|(_, bin)| bin.join("initdb").exists())
        .collect();
    folders.sort();
    let given = std::env::var_os("AQUIFER_POSTGRES_BIN").map(PathBuf::from);
    let on_path = || {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).find(|folder| folder.join("initdb").exists())
    };
    given
        .or_else(|| folders.pop().map(|(_, bin)| bin))
        .or_else(on_path)
        .unwrap_or_else(|| {
            panic!(
                "this test needs a Postgres server's programs: install them (Debian: apt-get install \
                 postgresql) or set AQUIFER_POSTGRES_BIN to the folder that has initdb and postgres"
            )
        })
}

/// User and group to run the server as, if this process is root.
fn unprivileged_user() -> Option<(u32, u32)> {
    let id = |arguments: &[&str]| -> Option<u32> {
        let output = Command::new("id").args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        text.trim().parse().ok()
    };
    if id(&["-u"]) != Some(0) {
        return None;
    }
    let found = ["postgres", "nobody"].iter().find_map(|name| {
        let uid = id(&["-u", name])?;
        Some((uid, id(&["-g", name])?))
    });
    Some(found.expect("Postgres refuses to run as root, and there is neither postgres nor nobody"))
}

/// Below the ports that the system gives to outgoing connections: it takes seconds until the server is there.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let begin = std::process::id().wrapping_mul(2_654_435_761);
    (0..2_000)
        .map(|_| begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 2_000)
        .filter_map(|place| u16::try_from(30_000 + place).ok())
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("127.0.0.1 has a free port")
}
