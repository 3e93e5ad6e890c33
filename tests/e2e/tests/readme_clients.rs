//! Goal: the examples for clients in README.md sell each unit of the stock once. Method: the text
//! of the examples is run, in Rust, Python and Node at once, by more customers than there is stock
//! for. The Rust example is the function `order` here, whose text is compared with README's.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use aft_e2e::server::Server;

/// The customers of each example.
const CUSTOMERS: usize = 12;
/// The stock: less than the customers of all three examples want.
const STOCK: usize = 30;

fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    root.expect("tests/e2e lies two folders below the root").to_owned()
}

/// Returns the first example in a language.
fn example(language: &str) -> String {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("there is a README");
    let (_, after) = readme.split_once(&format!("```{language}\n")).expect("README has an example");
    after.split_once("```").expect("the example ends").0.to_owned()
}

/// Places one order as README's example does, and returns the result.
async fn order(url: &str, id: String) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let client = aft_client::Client::new(url)?;
    // The example begins.
    let ran = client.run(id, |t| async move {
        let stock = t.get("stock/tea").await?;
        let stock = stock.map(|stock| String::from_utf8_lossy(&stock.bytes).parse::<u64>());
        let left = stock.and_then(Result::ok).unwrap_or(0);
        if left == 0 {
            return Ok::<_, aft_client::Error>("sold out");
        }
        t.put("stock/tea", (left - 1).to_string()).await?;
        t.put("orders/18", "1 tea").await?;
        Ok("sold")
    });
    // The example ends.
    Ok(String::from_utf8_lossy(&ran.await?.result).into_owned())
}

/// Returns the lines of code, without their indentation.
fn lines(code: &str) -> Vec<String> {
    code.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}

#[test]
fn the_rust_example_is_the_code_of_this_test() {
    let (_, after) = include_str!("readme_clients.rs").split_once("// The example begins.").expect("a mark");
    let own = lines(after.split_once("// The example ends.").expect("a mark").0);
    let readme = lines(&example("rust"));
    // The first line makes the client, and the last two await and print.
    let readme = &readme[1..readme.len() - 1];
    assert_eq!(own.len(), readme.len(), "{own:#?}\n{readme:#?}");
    for (own, readme) in own.iter().zip(readme) {
        let same = own == readme
            || (own == "let ran = client.run(id, |t| async move {"
                && readme == "let ran = client.run(\"order-18\", |t| async move {")
            || (own == "});" && readme == "}).await?;");
        assert!(same, "{own:?} is {readme:?} in README.md");
    }
}

/// Runs an example of another language in a process of its own, and returns what it printed.
async fn run(program: &str, arguments: &[&str], code: String) -> String {
    let output = tokio::process::Command::new(program)
        .args(arguments)
        .arg(code)
        .env("PYTHONPATH", root().join("shim/clients/python/src"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap_or_else(|why| panic!("{program} is missing: {why}"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examples_sell_what_there_is() {
    let skipped = std::env::var("AFT_SKIP_SERVICES").unwrap_or_default();
    let is_skipped = |name: &str| skipped.split(',').any(|other| other.trim() == name);
    let server = Server::start("memory:");
    let url = format!("http://{}", server.address());
    let client = aft_client::Client::new(&url).expect("it is a URL");
    client.put("stock/tea", STOCK.to_string()).await.expect("an undisturbed server answers");

    let node = format!("file://{}", root().join("shim/clients/node/index.mjs").display());
    let text = |language: &str, id: &str, customer: usize| {
        let code = example(language).replace("http://127.0.0.1:7400", &url);
        assert!(code.contains(id), "the example in {language} has no {id}");
        code.replace(id, &format!("{id} of {customer}")).replace("'aft-client'", &format!("'{node}'"))
    };
    let mut customers = tokio::task::JoinSet::new();
    for customer in 0..CUSTOMERS {
        let url = url.clone();
        customers
            .spawn(async move { order(&url, format!("order-18 of {customer}")).await.expect("it sells") });
        if !is_skipped("python") {
            customers.spawn(run("python3", &["-c"], text("python", "order-19", customer)));
        }
        if !is_skipped("node") {
            let arguments = ["--input-type=module", "--eval"];
            let code = text("js", "order-20", customer);
            customers.spawn(async move { run("node", &arguments, code).await });
        }
    }
    let (mut sold, mut sold_out) = (0, 0);
    while let Some(told) = customers.join_next().await {
        let told = told.expect("no customer panics");
        if told.contains("sold out") { sold_out += 1 } else { sold += 1 }
    }
    assert_eq!(sold, STOCK.min(sold + sold_out), "{sold} sold, {sold_out} sold out");
    let left = client.get("stock/tea").await.expect("an undisturbed server answers").expect("it was put");
    assert_eq!(String::from_utf8_lossy(&left.bytes), (STOCK - sold).to_string());
}
