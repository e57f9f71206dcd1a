//! A PostgreSQL server for the tests of this folder: Debian's, in a directory of its own, with a
//! socket of its own. It ends with the process of the tests, however that ends.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::database::{Connection, PostgresqlSettings, StoreSettings};

/// Says its directory when the server is ready, and then waits for the end of its input.
const SCRIPT: &str = r#"
set -eu
programs=$(printf '%s\n' /usr/lib/postgresql/*/bin | sort --version-sort | tail --lines=1)
directory=$(mktemp --directory /tmp/kms-gateway-postgresql-XXXXXX)
# PostgreSQL refuses to run as root.
as=
if [ "$(id --user)" = 0 ]; then
    chown postgres "$directory"
    as='setpriv --reuid=postgres --regid=postgres --clear-groups'
fi
cd "$directory"
$as "$programs/initdb" --pgdata=data --username=postgres --auth=trust --encoding=UTF8 \
    --locale=C.UTF-8 >log 2>&1
$as "$programs/postgres" -D data -k "$directory" -c listen_addresses= -c max_connections=400 \
    >>log 2>&1 &
server=$!
until "$programs/pg_isready" --quiet --host="$directory"; do
    kill -0 $server
    sleep 0.05
done
echo "$directory"
read -r _ || :
# Nothing of it is kept.
kill -QUIT $server
wait $server || :
rm --recursive "$directory"
"#;

/// The server of this process.
struct Server {
    directory: String,
    /// The script. Its input ends with this process.
    _script: Child,
}

impl Server {
    fn begin() -> Self {
        let mut script = Command::new("sh")
            .args(["-c", SCRIPT])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut directory = String::new();
        let mut said = BufReader::new(script.stdout.take().unwrap());
        said.read_line(&mut directory).unwrap();
        assert!(
            !directory.is_empty(),
            "PostgreSQL does not start: is Debian's package postgresql installed?"
        );
        Self {
            directory: directory.trim_end().to_owned(),
            _script: script,
        }
    }

    /// The settings for a role.
    fn settings(&self, user: &str) -> StoreSettings {
        StoreSettings {
            postgresql: Some(PostgresqlSettings {
                hosts: vec![self.directory.parse().unwrap()],
                database: "postgres".to_owned(),
                user: user.to_owned(),
                ..PostgresqlSettings::default()
            }),
            ..StoreSettings::default()
        }
    }
}

/// Whether the tests of this run are to use PostgreSQL.
pub(crate) fn is_wanted() -> bool {
    std::env::var_os("KMS_GATEWAY_TEST_STORE").is_some_and(|engine| engine == "postgresql")
}

/// Settings of a new and empty store. Its role finds its own tables first: PostgreSQL looks into
/// the schema that has the role's name.
pub(crate) fn new_store() -> StoreSettings {
    static SERVER: OnceLock<Server> = OnceLock::new();
    static STORES: AtomicU32 = AtomicU32::new(0);
    let server = SERVER.get_or_init(Server::begin);
    let role = format!("store{}", STORES.fetch_add(1, Ordering::Relaxed));
    let mut connection = Connection::writing(&server.settings("postgres")).unwrap();
    connection
        .run(&format!(
            "CREATE ROLE {role} LOGIN; CREATE SCHEMA {role} AUTHORIZATION {role}"
        ))
        .unwrap();
    server.settings(&role)
}
