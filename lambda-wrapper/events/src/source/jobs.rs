//! Services that send one event at a time: EventBridge, its scheduler, S3 Batch Operations,
//! CloudFormation, CloudWatch Logs.

use serde_json::Value;

use super::Source;
use crate::json::{arn_of, filled, has_texts, is_arn, text};

pub(super) fn of(event: &Value) -> Option<Source> {
    if schedule(event).is_some() {
        return Some(Source::Scheduler);
    }
    let is_rule = has_texts(
        event,
        &[&["version"], &["id"], &["detail-type"], &["source"], &["account"], &["time"], &["region"]],
    ) && event.get("resources").is_some_and(Value::is_array)
        && event.get("detail").is_some_and(Value::is_object);
    if is_rule {
        return Some(Source::EventBridge);
    }
    let is_task = |task: &Value| has_texts(task, &[&["taskId"], &["s3Key"]]);
    let tasks = event.get("tasks").and_then(Value::as_array);
    if has_texts(event, &[&["invocationSchemaVersion"], &["invocationId"], &["job", "id"]])
        && tasks.is_some_and(|tasks| !tasks.is_empty() && tasks.iter().all(is_task))
    {
        return Some(Source::S3Batch);
    }
    let is_resource = matches!(text(event, &["RequestType"]), Some("Create" | "Update" | "Delete"))
        && has_texts(event, &[&["RequestId"], &["ResponseURL"], &["LogicalResourceId"], &["ResourceType"]])
        && is_arn(event, &["StackId"], "cloudformation");
    if is_resource {
        return Some(Source::CustomResource);
    }
    let is_alone = event.as_object().is_some_and(|members| members.len() == 1);
    (is_alone && text(event, &["awslogs", "data"]).is_some()).then_some(Source::Logs)
}

/// Returns the ARN of a schedule, and the time for which it asked: from the event that
/// EventBridge Scheduler sends by itself, or from the two members that a template passes.
pub(crate) fn schedule(event: &Value) -> Option<(&str, &str)> {
    let is_schedule = |arn: &&str| arn_of(arn, "scheduler") && arn.contains(":schedule/");
    if text(event, &["source"]) == Some("aws.scheduler") {
        let arn = event.get("resources")?.as_array()?.first()?.as_str().filter(is_schedule)?;
        return Some((arn, filled(event, &["time"])?));
    }
    let named = |names: &[&str]| names.iter().find_map(|name| filled(event, &[name]));
    let arn = named(&["schedule-arn", "schedule_arn", "scheduleArn"]).filter(is_schedule)?;
    Some((arn, named(&["scheduled-time", "scheduled_time", "scheduledTime"])?))
}
