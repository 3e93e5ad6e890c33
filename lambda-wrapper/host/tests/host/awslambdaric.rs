//! AWS's own runtime client for Python. It is no dependency of the tests: give the interpreter of a
//! virtual environment that has it (`pip install awslambdaric`) in `AFT_AWSLAMBDARIC_PYTHON`.

use aft_lambda_host::{Function, Invoke};
use serde_json::json;

use crate::support::{LIMIT, check_failed, json, start, within};

const HANDLER: &str = "\
def handle(event, context):
    if 'fail' in event:
        raise KeyError(event['fail'])
    return {'event': event, 'id': context.aws_request_id, 'name': context.function_name}
";

#[tokio::test]
#[ignore = "it needs a virtual environment with awslambdaric: AFT_AWSLAMBDARIC_PYTHON names its python"]
async fn awslambdaric_runs() {
    let python = std::env::var("AFT_AWSLAMBDARIC_PYTHON")
        .expect("AFT_AWSLAMBDARIC_PYTHON names the python of a virtual environment with awslambdaric");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("app.py"), HANDLER).unwrap();
    let mut function = Function::new("f", &[&python, "-m", "awslambdaric", "app.handle"]);
    function.directory = folder.path().to_owned();
    function.timeout = LIMIT;
    let scene = start(function).await;
    for turn in 0..3 {
        let invoke = Invoke::new("f", json!({ "turn": turn }).to_string()).request_id(format!("r-{turn}"));
        let invoked = within(scene.host.invoke(invoke)).await.unwrap();
        let expect = json!({ "event": { "turn": turn }, "id": format!("r-{turn}"), "name": "f" });
        assert_eq!(json(&invoked), expect, "{:?}", scene.text());
    }
    let failed = scene.invoke(json!({ "fail": "no" })).await;
    check_failed(&failed, "KeyError", "'no'");
    assert_eq!(scene.host.environments().len(), 1);
}
