#include "clients/cpp/pull.h"

#include <fmt/format.h>
#include <httplib.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <random>
#include <set>
#include <utility>

#include "clients/cpp/frame_reader.h"
#include "clients/cpp/local_database.h"
#include "schemas/row_codec.h"
#include "schemas/status.h"

namespace sluice::client {
namespace {

constexpr size_t kProblemMax = 64 << 10;

// The server's refusal as a status: the client can't mend it by trying again, but for 429 and 503.
absl::Status RefusalStatus(int http_status, std::string_view body) {
  // The problem's two members that matter, without a JSON document: a proxy may have answered.
  const auto member = [&](std::string_view name) -> std::string {
    const std::string quoted = fmt::format("\"{}\":\"", name);
    const size_t at = body.find(quoted);
    if (at == std::string_view::npos) {
      return "";
    }
    const std::string_view rest = body.substr(at + quoted.size());
    return std::string(rest.substr(0, rest.find('"')));
  };
  absl::StatusCode kind = absl::StatusCode::kInvalidArgument;
  switch (http_status) {
    case 401:
      kind = absl::StatusCode::kUnauthenticated;
      break;
    case 403:
      kind = absl::StatusCode::kPermissionDenied;
      break;
    case 404:
      kind = absl::StatusCode::kNotFound;
      break;
    default:
      kind = http_status == 429 || http_status >= 500 ? absl::StatusCode::kUnavailable : kind;
  }
  const std::string detail = member("detail");
  const std::string code = member("code");
  return Error(
      kind, code.empty() ? "http_error" : code,
      fmt::format("{} (HTTP {})", detail.empty() ? "the server refused" : detail, http_status));
}

class HttpPuller final : public Puller, private FrameHandler {
 public:
  explicit HttpPuller(PullOptions options)
      : options_(std::move(options)),
        http_(options_.url),
        schema_http_(options_.url),
        frames_(*this) {}

  absl::Status Init() {
    if (!http_.is_valid()) {
      return Error(
          absl::StatusCode::kInvalidArgument, "invalid_argument",
          fmt::format("\"{}\" is not the URL of a server: write http://HOST:PORT", options_.url));
    }
    for (httplib::Client* http : {&http_, &schema_http_}) {
      http->set_tcp_nodelay(true);
      http->set_keep_alive(true);
      http->set_connection_timeout(std::chrono::seconds(10));
      http->set_read_timeout(options_.silence_max);
      if (!options_.ca_file.empty()) {
        http->set_ca_cert_path(options_.ca_file.c_str());
      }
    }
    ASSIGN_OR_RETURN(database_, LocalDatabase::Open(options_.db_path, options_.org,
                                                    [this] { return FetchSchema(); }));
    return absl::OkStatus();
  }

  absl::StatusOr<PullResult> Pull() override {
    total_ = PullResult{};
    reloaded_.clear();
    const absl::Status status = Run(/*live=*/false);
    database_->Rollback();
    RETURN_IF_ERROR(status);
    return total_;
  }

  absl::Status Follow(std::function<void(const PullResult&)> on_checkpoint) override {
    total_ = PullResult{};
    on_checkpoint_ = std::move(on_checkpoint);
    const absl::Status status = Run(/*live=*/true);
    database_->Rollback();
    on_checkpoint_ = nullptr;
    return status;
  }

  void Cancel() override {
    {
      const std::lock_guard lock(cancel_mutex_);
      cancelled_ = true;
    }
    cancel_changed_.notify_all();
    http_.stop();
  }

  void OnProgress(std::function<void(const PullProgress&)> callback) override {
    on_progress_ = std::move(callback);
  }

 private:
  bool Cancelled() {
    const std::lock_guard lock(cancel_mutex_);
    return cancelled_;
  }

  // Connects until a checkpoint is complete (or, live, for ever).
  absl::Status Run(bool live) {
    int failures = 0;
    while (!Cancelled()) {
      completed_ = false;
      progressed_ = false;
      absl::Status status = Connect(live);
      if (Cancelled()) {
        break;
      }
      if (status.ok() && completed_ && !live && !reconnect_) {
        return absl::OkStatus();
      }
      const bool retryable = status.ok() || absl::IsUnavailable(status) || reconnect_;
      if (!retryable) {
        return status;
      }
      if (std::exchange(reconnect_, false)) {
        continue;
      }
      failures = progressed_ || completed_ ? 1 : failures + 1;
      if (!live && failures >= options_.attempts_max) {
        return status.ok() ? Error(absl::StatusCode::kUnavailable, "stream_ended",
                                   "the server ended the stream before the checkpoint was "
                                   "complete, again and again")
                           : Annotate(status, fmt::format("given up after {} attempts", failures));
      }
      ++total_.reconnects;
      WaitBeforeRetry(failures);
    }
    return live ? absl::OkStatus() : absl::CancelledError("the pull was cancelled");
  }

  // Exponential, with full jitter, so that clients cut off together do not come back together.
  void WaitBeforeRetry(int failures) {
    const auto ceiling =
        std::min(options_.backoff_max, options_.backoff_first * (1 << std::min(failures - 1, 16)));
    std::uniform_int_distribution<int64_t> jitter(0, ceiling.count());
    std::unique_lock lock(cancel_mutex_);
    cancel_changed_.wait_for(lock, std::chrono::milliseconds(jitter(random_)),
                             [this] { return cancelled_; });
  }

  std::string RequestBody(bool live) const {
    std::string body = R"({"have":[)";
    bool first = true;
    for (const auto& [bucket, after] : database_->Have()) {
      if (after < 0) {
        continue;
      }
      body += first ? R"({"bucket":)" : R"(,{"bucket":)";
      schemas::AppendJsonString(bucket, &body);
      body += fmt::format(R"(,"after":"{}"}})", after);
      first = false;
    }
    return body + fmt::format(R"(],"live":{}}})", live);
  }

  absl::Status Connect(bool live) {
    ASSIGN_OR_RETURN(const std::string token, options_.token());
    httplib::Request request;
    request.method = "POST";
    request.path = "/v1/orgs/" + options_.org + "/stream";
    request.body = RequestBody(live);
    request.set_header("Authorization", "Bearer " + token);
    request.set_header("Content-Type", "application/json");
    request.set_header("Accept", "application/x-ndjson");
    int http_status = 0;
    std::string problem;
    absl::Status applied;
    frames_.Restart();
    request.response_handler = [&](const httplib::Response& response) {
      http_status = response.status;
      return true;
    };
    request.content_receiver = [&](const char* data, size_t size, uint64_t, uint64_t) {
      if (http_status != 200) {
        problem.append(data, std::min(size, kProblemMax - std::min(problem.size(), kProblemMax)));
        return true;
      }
      total_.bytes_received += size;
      applied = frames_.Feed({data, size});
      return applied.ok() && !reconnect_ && !Cancelled();
    };
    const httplib::Result result = http_.send(request);
    RETURN_IF_ERROR(applied);
    if (http_status != 0 && http_status != 200) {
      return RefusalStatus(http_status, problem);
    }
    if (!result && !reconnect_ && !(completed_ && !live)) {
      return Error(absl::StatusCode::kUnavailable, "unavailable",
                   fmt::format("{}: {}", options_.url, httplib::to_string(result.error())));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<ClientEntity>> FetchSchema() {
    ASSIGN_OR_RETURN(const std::string token, options_.token());
    const httplib::Result result = schema_http_.Get(
        ("/v1/orgs/" + options_.org + "/entities").c_str(), {{"Authorization", "Bearer " + token}});
    if (!result) {
      return Error(absl::StatusCode::kUnavailable, "unavailable",
                   fmt::format("{}: {}", options_.url, httplib::to_string(result.error())));
    }
    if (result->status != 200) {
      return RefusalStatus(result->status, result->body);
    }
    return ParseEntities(result->body);
  }

  // ---- frames ----

  absl::Status OnCheckpoint(int64_t, std::vector<BucketSummary> buckets,
                            std::vector<std::string> removed) override {
    RETURN_IF_ERROR(database_->Begin());
    announced_ = std::move(buckets);
    rows_total_ = 0;
    std::set<std::string_view> mine;
    for (const BucketSummary& bucket : announced_) {
      mine.insert(bucket.bucket);
      rows_total_ += bucket.count;
    }
    // What is not the caller's any more goes, listed or not: `buckets` are all of the caller's.
    for (const auto& [bucket, after] : database_->Have()) {
      if (!mine.contains(bucket)) {
        removed.push_back(bucket);
      }
    }
    for (const std::string& bucket : removed) {
      RETURN_IF_ERROR(database_->Drop(bucket));
    }
    // Known from the start, so that an empty bucket has its position too.
    for (const BucketSummary& bucket : announced_) {
      RETURN_IF_ERROR(database_->SelectBucket(bucket.bucket));
    }
    return absl::OkStatus();
  }

  absl::Status OnBucket(std::string_view bucket) override {
    return database_->SelectBucket(bucket);
  }

  absl::Status OnPut(std::string_view entity, std::string_view key, std::string_view position,
                     const std::vector<RowValue>& row) override {
    ++total_.rows_put;
    return database_->Put(entity, key, position, row);
  }

  absl::Status OnRemove(std::string_view entity, std::string_view key) override {
    ++total_.rows_removed;
    return database_->Remove(entity, key);
  }

  absl::Status OnOpsDone(int64_t to) override {
    progressed_ = true;
    RETURN_IF_ERROR(database_->FrameDone(to));
    if (on_progress_) {
      on_progress_({database_->rows_held(), rows_total_, total_.bytes_received});
    }
    return absl::OkStatus();
  }

  absl::Status OnReset(std::string_view bucket) override {
    ++total_.buckets_reset;
    RETURN_IF_ERROR(database_->Drop(bucket));
    return database_->SelectBucket(bucket);
  }

  absl::Status OnComplete(int64_t position) override {
    if (const std::vector<std::string> differing = database_->Differing(announced_);
        !differing.empty()) {
      return Reload(differing);
    }
    RETURN_IF_ERROR(database_->Complete(position));
    completed_ = true;
    reloaded_.clear();
    ++total_.checkpoints;
    total_.position = position;
    total_.buckets = announced_.size();
    if (on_checkpoint_) {
      on_checkpoint_(total_);
    }
    return absl::OkStatus();
  }

  // A bucket that differs is loaded anew once, and nothing else is.
  absl::Status Reload(const std::vector<std::string>& differing) {
    for (const std::string& bucket : differing) {
      if (!reloaded_.insert(bucket).second) {
        return Error(
            absl::StatusCode::kDataLoss, "checksum_mismatch",
            fmt::format(
                "bucket {} differs from what the server announces, also after it was loaded anew; "
                "nothing of this checkpoint is kept",
                bucket));
      }
      RETURN_IF_ERROR(database_->Drop(bucket));
      ++total_.buckets_reloaded;
    }
    reconnect_ = true;
    return absl::OkStatus();
  }

  PullOptions options_;
  httplib::Client http_;
  httplib::Client schema_http_;
  FrameReader frames_;
  std::unique_ptr<LocalDatabase> database_;
  std::function<void(const PullResult&)> on_checkpoint_;
  std::function<void(const PullProgress&)> on_progress_;
  std::mt19937_64 random_{std::random_device()()};

  PullResult total_;
  std::vector<BucketSummary> announced_;
  uint64_t rows_total_ = 0;
  std::set<std::string> reloaded_;
  bool completed_ = false;   // a checkpoint, on this connection
  bool progressed_ = false;  // a frame of operations, on this connection
  bool reconnect_ = false;   // ask anew at once, with what is held now

  std::mutex cancel_mutex_;
  std::condition_variable cancel_changed_;
  bool cancelled_ = false;  // guarded by cancel_mutex_
};

}  // namespace

absl::StatusOr<std::unique_ptr<Puller>> Puller::Open(PullOptions options) {
  auto puller = std::make_unique<HttpPuller>(std::move(options));
  RETURN_IF_ERROR(puller->Init());
  return puller;
}

}  // namespace sluice::client
