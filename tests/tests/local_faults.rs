//! Faults under a model with the real Mimir, nginx and embedded S3: what is said, what goes on, and that nothing acknowledged
//! is lost.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use muster_local::object_store;
use muster_testkit::model::{Model, is_active};
use muster_testkit::tcp_proxy::Mode;
use muster_testkit::{Process, TcpProxy, binaries, directory, http, loopback, s3, wait_until};
use muster_tests::traffic::Traffic;
use muster_tests::{
    ACTIVE, SAID, documents, model, monolithic, nothing_left, refused, replaced, says, unchanged,
};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{Signal, kill};
use serde_json::Value;
use tempfile::TempDir;

/// The programs that a model runs besides its agents and its own S3 server.
fn servers(model: &Model) -> Vec<(String, String)> {
    let all = model.workloads().into_iter().map(|(unit, program, _)| (unit, program));
    all.filter(|(unit, _)| unit != "object-store-0").collect()
}

async fn kill_one(model: &Model, program: &str, unit: &str) -> anyhow::Result<()> {
    let victim = model.process(program, unit)?;
    kill(victim.pid, Signal::SIGKILL)?;
    replaced(model, program, unit, &victim).await?;
    model.wait_active(ACTIVE).await.with_context(|| format!("after the end of {program} of {unit}"))?;
    Ok(())
}

/// `kill -9` of every single process of a model, one after the other.
#[tokio::test]
async fn every_killed_process_comes_back_and_nothing_acknowledged_is_lost() -> anyhow::Result<()> {
    let mut model = monolithic().await?;
    let traffic = Traffic::start(&model, "killed").await?;
    let keys = fs::read_to_string(model.directory().join("object-store.credentials"))?;
    let (access_key, secret_key) = keys.trim_end().split_once('\n').context("two keys, a line each")?;
    let status = model.status().await?;
    let endpoint =
        status["applications"]["object-store"]["endpoints"]["s3"].as_str().context("no endpoint")?;
    let mut store = s3::Client::new(endpoint, "muster-mimir", access_key, secret_key)?;
    for number in 0..20 {
        store.put(&format!("kept/{number}"), format!("content {number}")).await?;
    }

    kill_one(&model, "mimir", "mimir-worker/0").await?;
    let restarted = async |app: &str| {
        let unit = format!("{app}/0");
        let once = |status: &Value| status["applications"][app]["units"][&unit]["restarts"] == 1;
        model.wait(&format!("one restart of {unit}"), SAID, |status| once(status) && is_active(status)).await
    };
    restarted("mimir-worker").await?;
    traffic.flows().await?;
    kill_one(&model, "nginx", "mimir/0").await?;
    restarted("mimir").await?;
    traffic.flows().await?;
    kill_one(&model, "muster", "object-store/0").await?;
    traffic.flows().await?;

    // An agent's workload goes on, and the next agent takes it over as it is.
    for (agent, program, unit) in [
        ("worker", "mimir", "mimir-worker/0"),
        ("coordinator", "nginx", "mimir/0"),
        ("worker", "muster", "object-store/0"),
    ] {
        let workload = model.process(program, unit)?;
        kill_one(&model, agent, unit).await?;
        ensure!(model.process(program, unit)?.pid == workload.pid, "{unit} runs another {program}");
        traffic.flows().await?;
    }
    says(&model.output(), &["mimir-worker/0: error: agent cannot be reached; waiting until it is back"])?;

    // What was taken over is told of a change like any other, and taken over again as what it was made.
    let nginx = model.process("nginx", "mimir/0")?;
    model.muster(&["scale", "mimir-worker", "2"]).await?;
    model.wait_active(ACTIVE).await?;
    ensure!(model.process("nginx", "mimir/0")?.pid == nginx.pid, "nginx was not reloaded but started anew");
    let document = fs::read_to_string(model.unit_directory("mimir/0").join("run/live/nginx.conf"))?;
    let second = model.status().await?["applications"]["mimir-worker"]["units"]["mimir-worker/1"].clone();
    let address = second["address"].as_str().context("no address")?;
    ensure!(document.contains(address), "{address} is not in {document}");
    kill_one(&model, "coordinator", "mimir/0").await?;
    ensure!(model.process("nginx", "mimir/0")?.pid == nginx.pid, "nginx was not taken over after its reload");
    traffic.flows().await?;

    for number in 0..20 {
        let content = store.get(&format!("kept/{number}")).await?;
        ensure!(content == format!("content {number}"), "object {number} is {content:?}");
    }
    traffic.finish().await?;
    model.stop().await?;
    nothing_left(&model)
}

/// An S3 server that is not the model's own, behind a proxy.
struct Store {
    proxy: TcpProxy,
    _process: Process,
    _place: TempDir,
}

impl Store {
    const BUCKET: &str = "metrics";
    const ACCESS_KEY: &str = "some-access-key";
    const SECRET_KEY: &str = "some-secret-key";

    async fn start() -> anyhow::Result<Self> {
        let place = directory::temporary();
        let (root, keys) = (place.path().join("buckets"), place.path().join("keys"));
        fs::create_dir(&root)?;
        object_store::create_bucket(&root, Self::BUCKET)?;
        fs::write(&keys, format!("{}\n{}\n", Self::ACCESS_KEY, Self::SECRET_KEY))?;
        let address = loopback::free();
        let mut command = Command::new(binaries::path("object-store"));
        command.arg(&root).arg(address.to_string()).arg(&keys);
        let process = Process::spawn(&mut command, &place.path().join("log"))?;
        let mut client = http::Client::new(&format!("http://{address}"))?;
        wait_until("the S3 server", SAID, async || {
            client.get(object_store::HEALTH_PATH, Duration::from_secs(1)).await.ok()
        })
        .await?;
        Ok(Self { proxy: TcpProxy::start(address).await?, _process: process, _place: place })
    }
}

/// Every way in which the S3 relation can be wrong is told apart, starts nothing, and can be corrected.
#[tokio::test]
async fn a_wrong_object_store_starts_nothing_until_it_is_corrected() -> anyhow::Result<()> {
    let store = Store::start().await?;
    let endpoint = format!("endpoint=http://{}", store.proxy.address());
    let mut model = model()?;
    let text = documents::coordinator("mimir", "  units: 1")
        + &documents::worker("mimir-worker", "mimir", 1, &["all"]);
    model.up(Some(&text))?;
    let nothing_runs = || Ok(servers(&model));
    let blocked = async |words: &str| -> anyhow::Result<()> {
        model.wait_status("mimir", "blocked", words, SAID).await?;
        ensure!(servers(&model).is_empty(), "something was started: {:?}", servers(&model));
        Ok(())
    };
    blocked("no S3 relation; relate one: muster integrate mimir S3-APPLICATION").await?;
    model.wait_status("mimir-worker", "waiting", "not started: waits for mimir", SAID).await?;
    unchanged("what runs without an S3 relation", Duration::from_secs(3), nothing_runs).await?;
    says(&refused(&model, &["integrate", "mimir", "s3"]).await?, &["s3"])?;

    let (bucket, access_key) =
        (format!("bucket={}", Store::BUCKET), format!("access-key={}", Store::ACCESS_KEY));
    let mut deploy = vec!["deploy", "s3-integrator", "s3"];
    for setting in [&endpoint, &bucket, &access_key] {
        deploy.extend(["--config", setting]);
    }
    let wrong = model.directory().with_file_name("wrong");
    fs::write(&wrong, "another-secret-key\n")?;
    let wrong = wrong.to_string_lossy().into_owned();
    deploy.extend(["--secret-key-file", &wrong]);
    model.muster(&deploy).await?;
    model.muster(&["integrate", "mimir", "s3"]).await?;
    blocked("check access-key and secret-key").await?;

    let right = model.directory().with_file_name("right");
    fs::write(&right, format!("{}\n", Store::SECRET_KEY))?;
    let right = format!("secret-key=@{}", right.display());
    model.muster(&["config", "s3", &right, "bucket=nowhere"]).await?;
    blocked("bucket \"nowhere\" does not exist").await?;
    let closed = format!("endpoint=http://{}", loopback::free());
    model.muster(&["config", "s3", &bucket, &closed]).await?;
    blocked("cannot be reached: connection refused; check that it runs and the endpoint's port").await?;
    let said = refused(&model, &["config", "s3", &format!("{endpoint}/v1/path")]).await?;
    says(&said, &["it has a path; write the host alone and put the path into \"path\""])?;
    ensure!(!model.output().contains(Store::SECRET_KEY), "the secret key was printed");

    model.muster(&["config", "s3", &endpoint]).await?;
    model.wait_active(ACTIVE).await?;
    let traffic = Traffic::start(&model, "corrected").await?;

    // Gone while everything runs: said, and nothing stops.
    let before = model.workloads();
    store.proxy.set(Mode::Cut);
    model.wait_status("mimir", "blocked", "cannot be reached", Duration::from_secs(90)).await?;
    ensure!(model.workloads() == before, "something was stopped or restarted");
    traffic.is_written().await?;
    store.proxy.set(Mode::Pass);
    model.wait_active(ACTIVE).await?;
    ensure!(model.workloads() == before, "something was stopped or restarted");
    traffic.finish().await?;
    model.stop().await?;
    nothing_left(&model)
}

/// How long a unit may take to leave whose process starts while there is no object store.
const LEFT: Duration = Duration::from_secs(300);

/// A model of two Mimir units of which one, the only one with the series that is written, was told to leave while the object store is
/// cut off.
struct Stalled {
    model: Model,
    traffic: Traffic,
    leaving: String,
    unit: String,
    /// Where it keeps the series.
    disk: PathBuf,
}

async fn stalled(store: &Store) -> anyhow::Result<Stalled> {
    let mut model = model()?;
    let secret = format!(
        "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: s3}}\ntype: muster.dev/s3\nstringData: \
         {{endpoint: 'http://{}', bucket: {}, access-key: {}, secret-key: {}}}\n",
        store.proxy.address(),
        Store::BUCKET,
        Store::ACCESS_KEY,
        Store::SECRET_KEY
    );
    let text =
        documents::coordinator("mimir", "  units: 1\n  s3: {secret: s3}\n  transitions: {readHold: Never}")
            + &documents::worker("first", "mimir", 1, &["all"])
            + &documents::worker("second", "mimir", 1, &["all"])
            + &secret;
    model.up(Some(&text))?;
    model.wait_active(ACTIVE).await?;
    let traffic = Traffic::start(&model, "kept").await?;
    // There is one copy of the one series, on one of the two.
    let disk_of = |application: &str| {
        model.directory().join(format!("units/{application}-0/data/mimir/tsdb/anonymous"))
    };
    let leaving = ["first", "second"].into_iter().find(|application| disk_of(application).exists());
    let leaving = leaving.context("nobody has the series")?.to_owned();
    let (disk, unit) = (disk_of(&leaving), format!("{leaving}/0"));

    store.proxy.set(Mode::Cut);
    model.muster(&["remove-application", "--yes", &leaving]).await?;
    Ok(Stalled { model, traffic, leaving, unit, disk })
}

/// Mimir ends with success although nothing could be uploaded. Its unit does not go for all that.
#[tokio::test]
async fn a_unit_keeps_what_it_could_not_upload_until_it_could() -> anyhow::Result<()> {
    let store = Store::start().await?;
    let Stalled { mut model, traffic, leaving, unit, disk } = stalled(&store).await?;
    let keeps = |status: &Value| {
        let message = status["applications"][&leaving]["units"][&unit]["message"].as_str();
        message.is_some_and(|said| {
            said.contains(
                "keeps what is not in the object store yet (1 block of tenant \"anonymous\" not uploaded)",
            )
        })
    };
    model.wait("a unit that keeps what it has", ACTIVE, keeps).await?;
    traffic.is_written().await?;
    // Neither its agent's end nor the coordinator's changes that.
    let agent = model.process("worker", &unit)?;
    kill(agent.pid, Signal::SIGKILL)?;
    model.kill_up().await?;
    model.up(None)?;
    model.wait("a unit that keeps what it has", ACTIVE, keeps).await?;
    ensure!(disk.join("wal").exists(), "{} is gone", disk.display());

    store.proxy.set(Mode::Pass);
    let gone = |status: &Value| status["applications"][&leaving].is_null();
    model.wait("the unit to be gone", LEFT, gone).await.with_context(|| {
        fs::read_to_string(model.unit_directory(&unit).join("agent.log")).unwrap_or_default()
    })?;
    model.wait_active(ACTIVE).await?;
    traffic.finish().await?;
    model.stop().await?;
    nothing_left(&model)
}

/// A unit that cannot upload what it holds goes at once when somebody says in the right words that it may be lost, and only then.
#[tokio::test]
async fn a_unit_goes_without_what_it_holds_once_somebody_consents() -> anyhow::Result<()> {
    const LOST: &str = "1 block of tenant \"anonymous\" not uploaded";
    let store = Store::start().await?;
    let Stalled { mut model, traffic, leaving, unit, disk } = stalled(&store).await?;
    let stays = if leaving == "first" { "second/0" } else { "first/0" };
    let at_risk = |status: &Value| status["applications"][&leaving]["units"][&unit]["atRisk"] == LOST;
    model.wait("a unit that is kept from leaving", ACTIVE, at_risk).await?;

    let command = format!("muster run {unit} abandon-data --yes-i-lose '{LOST}'");
    let said = |output: &std::process::Output| {
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    };
    for words in [&["run", &unit, "abandon-data"][..], &["run", &unit, "abandon-data", "--yes-i-lose", "it"]]
    {
        let answer = model.run(words).await?;
        ensure!(answer.status.code() == Some(1), "{}", said(&answer));
        says(&said(&answer), &[LOST, &command])?;
    }
    says(&refused(&model, &["run", stays, "abandon-data"]).await?, &["nothing keeps", "from leaving"])?;
    says(&refused(&model, &["run", &unit, "reboot"]).await?, &["no action is called", "abandon-data"])?;
    model.wait("the unit to be kept as it was", SAID, at_risk).await?;

    let answer = model.run(&["run", &unit, "abandon-data", "--yes-i-lose", LOST]).await?;
    ensure!(answer.status.success(), "{}", said(&answer));
    println!("{}", said(&answer));
    let gone = |status: &Value| status["applications"][&leaving].is_null();
    let status = model.wait("the unit to be gone", LEFT, gone).await.with_context(|| {
        fs::read_to_string(model.unit_directory(&unit).join("agent.log")).unwrap_or_default()
    })?;
    let record = &status["applications"]["mimir"]["abandoned"][0];
    ensure!(record["unit"] == unit && record["lost"] == LOST, "what was lost is not in the status: {status}");
    says(&model.output(), &[&format!("mimir: {unit} is let go without {LOST}")])?;
    ensure!(disk.exists(), "the disk went with the unit: {}", disk.display());
    println!("{}", model.muster(&["status"]).await?);
    traffic.is_written().await?;

    // What was decided outlives those who decided it.
    model.kill_up().await?;
    model.up(None)?;
    let recorded = |status: &Value| status["applications"]["mimir"]["abandoned"][0]["lost"] == LOST;
    model.wait("what was lost to be in the status", ACTIVE, recorded).await?;
    store.proxy.set(Mode::Pass);
    model.wait_active(ACTIVE).await?;
    traffic.is_written().await?;
    traffic.stop().await?;
    model.stop().await?;
    nothing_left(&model)
}

/// An endpoint with a path in a file: the file is taken, the status says what is wrong, nothing starts.
#[tokio::test]
async fn an_endpoint_with_a_path_in_a_file_is_blocked() -> anyhow::Result<()> {
    let mut model = model()?;
    let secret = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: s3}\ntype: muster.dev/s3\nstringData: \
                  {endpoint: 'http://127.0.0.1:9000/bucket', bucket: metrics, access-key: a, secret-key: b}\n";
    model.up(Some(&(documents::monolithic()? + secret)))?;
    model.wait_status("mimir", "blocked", "it has a path; write the host alone", SAID).await?;
    model.wait_status("s3", "blocked", "muster config s3 KEY=VALUE", SAID).await?;
    ensure!(servers(&model).is_empty(), "something was started: {:?}", servers(&model));
    model.stop().await?;
    nothing_left(&model)
}

/// Without a required role everything stops, gracefully, and starts again once the role is covered.
#[tokio::test]
async fn a_missing_role_stops_everything_until_it_is_covered() -> anyhow::Result<()> {
    let text = documents::coordinator("mimir", "  s3: {secret: s3}")
        + &documents::worker("mimir-front", "mimir", 1, &["read", "write"])
        + &documents::worker("mimir-backend", "mimir", 1, &["backend"]);
    let mut model = model()?;
    model.up(Some(&text))?;
    model.wait_active(ACTIVE).await?;
    let written = Traffic::start(&model, "incoherent").await?.stop().await?;

    model.muster(&["config", "mimir-backend", "role-backend=false"]).await?;
    let missing = "missing required roles: alertmanager, compactor, query-scheduler, ruler, store-gateway";
    model.wait_status("mimir", "blocked", missing, SAID).await?;
    model.wait_status("mimir-backend", "blocked", "muster config mimir-backend role-all=true", SAID).await?;
    wait_until("the end of all servers", ACTIVE, async || servers(&model).is_empty().then_some(())).await?;
    model
        .wait("the units to say so", SAID, |status| {
            let unit = &status["applications"]["mimir-front"]["units"]["mimir-front/0"];
            unit["message"] == "stopped until mimir is coherent again"
        })
        .await?;
    for unit in ["mimir-front/0", "mimir-backend/0", "mimir/0"] {
        let log = fs::read_to_string(model.unit_directory(unit).join("agent.log"))?;
        ensure!(log.contains("cause=\"exit code 0\""), "{unit} did not end by itself: {log}");
        ensure!(!log.contains("SIGKILL"), "{unit} was killed: {log}");
    }

    model.muster(&["config", "mimir-backend", "role-backend=true"]).await?;
    model.wait_active(ACTIVE).await?;
    written.all_readable().await?;
    Traffic::start(&model, "coherent").await?.finish().await?;
    model.stop().await?;
    nothing_left(&model)
}

/// The address that the model's next unit gets.
fn next_address(model: &Model) -> anyhow::Result<IpAddr> {
    let state: Value = serde_json::from_slice(&fs::read(model.directory().join("model.json"))?)?;
    let number = |key: &str| state[key].as_u64().with_context(|| format!("the state has no {key}"));
    let (network, host) = (u8::try_from(number("network")?)?, u16::try_from(number("lastHost")? + 1)?);
    let [third, fourth] = host.to_be_bytes();
    Ok(Ipv4Addr::new(127, network, third, fourth).into())
}

/// A port that someone else has makes a crash loop, which is told with its reason and ends when the port is free.
#[tokio::test]
async fn a_taken_port_is_a_crash_loop_that_ends_by_itself() -> anyhow::Result<()> {
    let mut model = monolithic().await?;
    let traffic = Traffic::start(&model, "port-in-use").await?;
    let address = next_address(&model)?;
    let taken = TcpListener::bind(SocketAddr::new(address, muster_model::HTTP_PORT))?;
    let first = model.process("mimir", "mimir-worker/0")?;

    model.muster(&["scale", "mimir-worker", "2"]).await?;
    let status = model.wait_status("mimir-worker", "error", "address already in use", SAID).await?;
    let unit = &status["applications"]["mimir-worker"]["units"]["mimir-worker/1"];
    ensure!(unit["address"] == address.to_string(), "another unit got the address: {unit}");
    let message = unit["message"].as_str().unwrap_or_default();
    says(message, &["crash loop: exit code 1", "next start within", "last log line"])?;
    model
        .wait("further starts", SAID, |status| {
            let unit = &status["applications"]["mimir-worker"]["units"]["mimir-worker/1"];
            unit["restarts"].as_u64().is_some_and(|restarts| restarts >= 2)
        })
        .await?;
    ensure!(model.process("mimir", "mimir-worker/0")? == first, "the unit that serves was touched");
    traffic.flows().await?;

    drop(taken);
    model.wait_active(ACTIVE).await?;
    traffic.finish().await?;
    model.stop().await?;
    nothing_left(&model)
}

/// A small disk. Taken away when dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(place: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(place)?;
        mount(Some("tmpfs"), place, Some("tmpfs"), MsFlags::empty(), Some("size=64m,mode=700"))
            .context("a tmpfs can be mounted by root only")?;
        Ok(Self(place.to_owned()))
    }

    /// Takes every free byte.
    fn fill(&self) -> anyhow::Result<PathBuf> {
        let path = self.0.join("filler");
        let mut file = File::create(&path)?;
        let block = vec![0; 4096];
        while file.write_all(&block).is_ok() {}
        Ok(path)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What still has files open there is killed right after.
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

/// A full disk fails pushes with Mimir's own words; once there is room again all goes on, and what was acknowledged is there,
/// also after a restart.
#[tokio::test]
async fn a_full_disk_refuses_samples_and_loses_none() -> anyhow::Result<()> {
    let mut model = model()?;
    let disk = Disk::mount(&model.unit_directory("mimir-worker/0").join("data"))?;
    model.up(Some(&documents::monolithic()?))?;
    model.wait_active(ACTIVE).await?;
    let traffic = Traffic::start(&model, "disk-full").await?;

    let filler = disk.fill()?;
    traffic.is_refused().await?;
    fs::remove_file(filler)?;
    traffic.is_written().await?;
    let written = traffic.stop().await?;
    let told =
        written.journal.failures.iter().any(|failure| failure.reason.contains("no space left on device"));
    ensure!(told, "nobody said that the disk is full: {:?}", written.journal.failures.last());
    written.all_readable().await?;

    kill_one(&model, "mimir", "mimir-worker/0").await?;
    written.all_readable().await?;
    Traffic::start(&model, "disk-free").await?.finish().await?;
    ensure!(is_active(&model.status().await?));
    model.stop().await?;
    nothing_left(&model)
}
