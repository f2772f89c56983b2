#include "tests/support/rows/stream_rows_client.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <xxhash.h>

#include <algorithm>
#include <sstream>

#include "schemas/base/status.h"

namespace sluice::testing {

using nlohmann::json;
using projectors::OrgSnapshot;

StreamRowsClient::StreamRowsClient(std::string who, uint64_t seed, OrgRecord& record,
                                   RowsReport& report, bool may_expire)
    : dice_(seed),
      record_(record),
      report_(report),
      checks_(std::move(who), record, report),
      may_expire_(may_expire) {}

void StreamRowsClient::Act(const std::shared_ptr<const OrgSnapshot>& snapshot) {
  if (dice_.Chance(12)) {
    Break();
  }
  if (!session_.has_value()) {
    Connect();
  }
  if (!session_->sending() || dice_.Chance(20)) {
    report_.counters.superseded += session_->sending() ? 1 : 0;
    if (!Begin(snapshot)) {
      return;
    }
  }
  for (size_t frames = dice_.Between(1, 6); frames > 0 && session_.has_value(); --frames) {
    Fill();
  }
}

void StreamRowsClient::Drain(const std::shared_ptr<const OrgSnapshot>& snapshot) {
  if (!session_.has_value()) {
    Connect();
  }
  if (!Begin(snapshot)) {
    return;
  }
  for (int frames = 0; session_.has_value() && session_->sending() && report_.ok(); ++frames) {
    if (frames > 5'000) {
      report_.Fail("frames without end");
    }
    Fill();
    if (!session_.has_value()) {  // it broke
      Connect();
      Begin(snapshot);
    }
  }
}

void StreamRowsClient::Connect() {
  if (dice_.Chance(20) || at_ == nullptr) {
    claims_ = dice_.Below(record_.claims().size());
  }
  json body = {{"have", json::array()}, {"live", true}};
  for (auto& [id, bucket] : work_) {
    if (bucket.after > 0) {
      bucket.begun = std::min(bucket.begun, bucket.after);  // what left since is told of
      body["have"].push_back({{"bucket", id}, {"after", std::to_string(bucket.after)}});
    }
  }
  std::erase_if(work_, [](const auto& bucket) { return bucket.second.after == 0; });
  unknown_bucket_ = dice_.Chance(10) ? "elsewhere" : "";
  if (!unknown_bucket_.empty()) {
    body["have"].push_back({{"bucket", unknown_bucket_}, {"after", "3"}});
  }
  auto request = gateways::ParseStreamRequest(body.dump());
  gateways::StreamOptions options{.log_id = "log", .buckets_max = 1'000};
  options.frame_ops = dice_.Between(1, 4);
  session_.emplace(options, columns_, record_.pieces(), record_.claims()[claims_],
                   *std::move(request), gateways::FrameFormat::kNdjson);
}

void StreamRowsClient::Break() {
  if (!session_.has_value()) {
    return;
  }
  report_.counters.breaks += session_->sending() ? 1 : 0;
  session_.reset();
  if (dice_.Chance(30)) {
    work_ = complete_;  // its transaction was rolled back
  }
}

bool StreamRowsClient::Begin(const std::shared_ptr<const OrgSnapshot>& snapshot) {
  at_ = record_.At(claims_);
  std::string frames;
  const auto began = session_->Begin(snapshot);
  session_->WriteCheckpoint(SIZE_MAX, &frames);
  if (!began.ok() || !at_->rows.has_value()) {
    if (ErrorCode(began.status()) != "offline_not_allowed" || at_->rows.has_value()) {
      checks_.Fail("may be off line or not: " + began.status().ToString(), *at_);
    }
    ++report_.counters.refused;
    session_.reset();
    work_ = complete_;
    return false;
  }
  checks_.Use(claims_, at_->position);
  if (!*began) {  // nothing of the caller's has changed
    CompareRows();
    return true;
  }
  Take(frames);
  return session_.has_value();
}

void StreamRowsClient::Fill() {
  if (!session_->sending()) {
    return;
  }
  gateways::FrameBuffer frames;
  const absl::Status filled = session_->Fill(dice_.Chance(70) ? 1 : 2'000, &frames);
  if (!filled.ok()) {
    checks_.Fail("gets no frames: " + filled.ToString(), *at_);
    session_.reset();
    return;
  }
  Take(fmt::format("{}", fmt::join(frames.Parts(), "")));
}

void StreamRowsClient::Take(const std::string& frames) {
  std::istringstream lines(frames);
  for (std::string line; std::getline(lines, line) && report_.ok();) {
    TakeFrame(json::parse(line));
    if (dice_.Chance(3)) {
      Break();
      return;
    }
  }
}

void StreamRowsClient::TakeFrame(const json& frame) {
  const auto first = frame.begin();
  const std::string& name = first.key();
  const nlohmann::json& content = *first;
  if (name == "checkpoint") {
    TakeCheckpoint(content);
  } else if (name == "ops") {
    TakeOps(content);
  } else if (name == "reset") {
    ++report_.counters.resets;
    if (!may_expire_) {
      checks_.Fail("a bucket is void for no reason", *at_);
    }
    work_[content["bucket"]] = {.begun = at_->position};
  } else if (name == "checkpoint_complete") {
    TakeComplete(content);
  } else {
    checks_.Fail("is sent an unknown frame: " + frame.dump(), *at_);
  }
}

void StreamRowsClient::TakeCheckpoint(const json& checkpoint) {
  if (checkpoint["position"] != std::to_string(at_->position)) {
    checks_.Fail("a checkpoint is not the store's: " + checkpoint.dump(), *at_);
  }
  summaries_ = checkpoint["buckets"];
  for (const json& id : checkpoint["removed"]) {
    work_.erase(id.get<std::string>());
    unknown_bucket_ = id == unknown_bucket_ ? "" : unknown_bucket_;
  }
  if (!unknown_bucket_.empty()) {
    checks_.Fail("a bucket from elsewhere is not said to be removed", *at_);
  }
  std::set<std::string> known;
  for (const json& summary : summaries_) {
    const std::string id = summary["bucket"];
    known.insert(id);
    work_.try_emplace(id, Bucket{.begun = at_->position});
  }
  for (const auto& [id, bucket] : work_) {
    if (!known.contains(id)) {
      checks_.Fail("a checkpoint says nothing of bucket " + id, *at_);
    }
  }
}

void StreamRowsClient::TakeOps(const json& ops) {
  Bucket& bucket = work_[ops["bucket"]];
  if (ops["from"] != std::to_string(bucket.after)) {
    checks_.Fail(fmt::format("has {} and is sent what follows {}", bucket.after,
                             ops["from"].get<std::string>()),
                 *at_);
  }
  for (const json& op : ops["ops"]) {
    const RowName name = RowChecks::NameOf(op);
    const auto held = bucket.rows.find(name);
    if (op["op"] == "put") {
      PlainColumns columns =
          checks_.TakePut(op, *at_, held == bucket.rows.end() ? nullptr : &held->second.columns);
      bucket.rows[name] = {op["position"], std::move(columns)};
    } else {
      checks_.TakeRemove(op, *at_, held != bucket.rows.end(), bucket.begun);
      bucket.rows.erase(name);
    }
  }
  bucket.after = std::stoll(ops["to"].get<std::string>());
}

void StreamRowsClient::TakeComplete(const json& complete) {
  if (complete["position"] != std::to_string(at_->position)) {
    checks_.Fail("another checkpoint is complete than was begun", *at_);
  }
  for (const json& summary : summaries_) {
    Bucket& bucket = work_[summary["bucket"]];
    bucket.after = at_->position;
    CheckSummary(summary, bucket);
  }
  complete_ = work_;
  ++report_.counters.streams;
  CompareRows();
}

void StreamRowsClient::CheckSummary(const json& summary, const Bucket& bucket) {
  uint64_t checksum = 0;
  for (const auto& [name, row] : bucket.rows) {
    const std::string text = name.first + '\0' + name.second + '\0' + row.position;
    checksum += XXH64(text.data(), text.size(), 0);
  }
  if (summary["count"] != std::to_string(bucket.rows.size()) ||
      summary["checksum"] != fmt::format("{:016x}", checksum)) {
    checks_.Fail(fmt::format("bucket {} has {} rows, checksum {:016x}", summary.dump(),
                             bucket.rows.size(), checksum),
                 *at_);
  }
}

void StreamRowsClient::CompareRows() {
  PlainRows rows;
  std::set<RowName> shared;
  for (const auto& [id, bucket] : complete_) {
    for (const auto& [name, row] : bucket.rows) {
      const auto [held, added] = rows.try_emplace(name, row.columns);
      if (!added) {
        shared.insert(name);
      }
    }
  }
  report_.counters.shared_rows += shared.size();
  checks_.Compare(rows, *at_);
}

}  // namespace sluice::testing
