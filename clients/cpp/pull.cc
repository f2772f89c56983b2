#include "clients/cpp/pull.h"

#include <fmt/format.h>
#include <httplib.h>

#include <algorithm>
#include <charconv>
#include <random>
#include <set>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "clients/cpp/backoff.h"
#include "clients/cpp/frame_reader.h"
#include "clients/cpp/local_database.h"
#include "schemas/row_codec.h"
#include "schemas/status.h"

namespace sluice::client {
namespace {

constexpr size_t kProblemMax = 64 << 10;
constexpr std::chrono::seconds kConnectMax(10);

// The server's refusal as a status: the client can't mend it by trying again, but for 429 and 503.
absl::Status RefusalStatus(int http_status, std::string_view body) {
  absl::StatusCode kind = absl::StatusCode::kInvalidArgument;
  switch (http_status) {
    case 401:
      kind = absl::StatusCode::kUnauthenticated;
      break;
    case 403:
      kind = absl::StatusCode::kPermissionDenied;
      break;
    case 404:
    case 410:
      kind = absl::StatusCode::kNotFound;
      break;
    default:
      kind = http_status == 429 || http_status >= 500 ? absl::StatusCode::kUnavailable : kind;
  }
  const Problem problem = ParseProblem(body);
  return Error(
      kind, problem.code.empty() ? "http_error" : problem.code,
      fmt::format("{} (HTTP {})", problem.detail.empty() ? "the server refused" : problem.detail,
                  http_status));
}

// How long the server asks to wait; 0 where it does not say so in seconds.
std::chrono::milliseconds RetryAfter(const httplib::Response& response) {
  const std::string text = response.get_header_value("Retry-After");
  int64_t seconds = 0;
  std::from_chars(text.data(), text.data() + text.size(), seconds);
  return std::chrono::seconds(std::clamp<int64_t>(seconds, 0, 86'400));
}

absl::Status OutOfOrder(std::string_view what) {
  return Error(absl::StatusCode::kDataLoss, "malformed_frame",
               fmt::format("the server sent {}", what));
}

// An address and nothing after it; the HTTP library takes what it can't read for a host's name.
absl::Status CheckUrl(const std::string& url) {
  const bool plain = url.starts_with("http://");
  const bool tls = url.starts_with("https://");
  const std::string_view host = std::string_view(url).substr(plain ? 7 : tls ? 8 : url.size());
  if (host.empty() || host.find_first_of("/?#@ \r\n") != std::string_view::npos) {
    return Error(absl::StatusCode::kInvalidArgument, "invalid_argument",
                 fmt::format("\"{}\" is not the URL of a server: write http://HOST:PORT", url));
  }
  return absl::OkStatus();
}

absl::Status CheckOrg(std::string_view org) {
  const bool valid =
      !org.empty() && org.size() <= 63 && org.front() != '-' && org.back() != '-' &&
      org.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") == std::string_view::npos;
  return valid ? absl::OkStatus()
               : Error(absl::StatusCode::kInvalidArgument, "invalid_argument",
                       fmt::format("\"{}\" is not the name of an organisation", org));
}

class HttpPuller final : public Puller, private FrameHandler {
 public:
  explicit HttpPuller(PullOptions options)
      : options_(std::move(options)),
        http_(options_.url),
        schema_http_(options_.url),
        frames_(*this) {}

  absl::Status Init() {
    if (!http_.is_valid() || !schema_http_.is_valid()) {
      return Error(absl::StatusCode::kInvalidArgument, "invalid_argument",
                   fmt::format("\"{}\" can't be used as the URL of a server", options_.url));
    }
    for (httplib::Client* http : {&http_, &schema_http_}) {
      http->set_tcp_nodelay(true);
      http->set_connection_timeout(kConnectMax);
      http->set_read_timeout(options_.silence_max);
      if (!options_.ca_file.empty()) {
        http->set_ca_cert_path(options_.ca_file.c_str());
      }
      // Called when a connection begins, under the lock that stop() takes: a Cancel() from before
      // is seen here, one from after ends the connection.
      http->set_socket_options([this, http](socket_t) {
        if (Cancelled()) {
          http->set_connection_timeout(std::chrono::milliseconds(1));
          http->set_read_timeout(std::chrono::milliseconds(1));
        }
      });
    }
    ASSIGN_OR_RETURN(database_, LocalDatabase::Open(options_.db_path, options_.org,
                                                    [this] { return FetchSchema(); }));
    return absl::OkStatus();
  }

  absl::StatusOr<PullResult> Pull() override {
    Restart();
    const absl::Status status = Run(/*live=*/false);
    database_->Rollback();
    RETURN_IF_ERROR(status);
    return total_;
  }

  absl::Status Follow(std::function<void(const PullResult&)> on_checkpoint) override {
    Restart();
    on_checkpoint_ = std::move(on_checkpoint);
    const absl::Status status = Run(/*live=*/true);
    database_->Rollback();
    on_checkpoint_ = nullptr;
    return status;
  }

  void Cancel() override {
    {
      const absl::MutexLock lock(&cancel_mutex_);
      cancelled_ = true;
    }
    http_.stop();
    schema_http_.stop();
  }

  void OnProgress(std::function<void(const PullProgress&)> callback) override {
    on_progress_ = std::move(callback);
  }

 private:
  void Restart() {
    total_ = PullResult{};
    total_.position = database_->position();
    reloaded_.clear();
    reconnect_ = false;
  }

  bool Cancelled() {
    const absl::MutexLock lock(&cancel_mutex_);
    return cancelled_;
  }

  // Connects until a checkpoint is complete (or, live, for ever).
  absl::Status Run(bool live) {
    int failures = 0;
    while (!Cancelled()) {
      completed_ = false;
      progressed_ = false;
      absl::Status status = Connect(live);
      if (status.ok() && completed_ && !live && !reconnect_) {
        return absl::OkStatus();
      }
      if (Cancelled()) {
        break;
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

  void WaitBeforeRetry(int failures) {
    const auto wait = BackoffWait(failures, options_.backoff_first, options_.backoff_max,
                                  std::exchange(retry_after_, {}), random_);
    const absl::MutexLock lock(&cancel_mutex_);
    cancel_mutex_.AwaitWithTimeout(absl::Condition(&cancelled_), absl::FromChrono(wait));
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
    request.set_header("Accept-Encoding", "identity");
    int http_status = 0;
    std::string problem;
    absl::Status applied;
    frames_.Restart();
    database_->ForgetSchema();
    request.response_handler = [&](const httplib::Response& response) {
      http_status = response.status;
      retry_after_ = RetryAfter(response);
      return !Cancelled();
    };
    request.content_receiver = [&](const char* data, size_t size, uint64_t, uint64_t) {
      if (http_status != 200) {
        problem.append(data, std::min(size, kProblemMax - std::min(problem.size(), kProblemMax)));
        return true;
      }
      total_.bytes_received += size;
      applied = frames_.Feed({data, size});
      return applied.ok() && !Cancelled();
    };
    const httplib::Result result = http_.send(request);
    in_checkpoint_ = false;  // the next connection announces its own
    if (reconnect_) {
      return absl::OkStatus();
    }
    RETURN_IF_ERROR(applied);
    if (http_status != 0 && http_status != 200) {
      return RefusalStatus(http_status, problem);
    }
    if (!result && !(completed_ && !live)) {
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
      retry_after_ = RetryAfter(*result);
      return RefusalStatus(result->status, result->body);
    }
    return ParseEntities(result->body);
  }

  // ---- frames ----

  absl::Status OnCheckpoint(int64_t position, std::vector<BucketSummary> buckets,
                            std::vector<std::string> removed) override {
    RETURN_IF_ERROR(database_->Begin());
    in_checkpoint_ = true;
    target_ = position;
    announced_ = std::move(buckets);
    rows_total_ = 0;
    mine_.clear();
    for (const BucketSummary& bucket : announced_) {
      mine_.insert(bucket.bucket);
      rows_total_ += bucket.count;
    }
    // What is not the caller's any more goes, listed or not: `buckets` are all of the caller's.
    for (const auto& [bucket, after] : database_->Have()) {
      if (!mine_.contains(bucket)) {
        removed.push_back(bucket);
      }
    }
    // Other columns are other buckets; so are those of another entity under the same name.
    if (!removed.empty() || std::any_of(announced_.begin(), announced_.end(),
                                        [this](auto& b) { return !database_->Holds(b.bucket); })) {
      database_->ForgetSchema();
    }
    RETURN_IF_ERROR(database_->Drop(removed));
    ASSIGN_OR_RETURN(const bool follows, database_->Announce(position));
    if (!follows) {
      return StartOver();
    }
    // Known from the start, so that an empty bucket has its position too.
    for (const BucketSummary& bucket : announced_) {
      RETURN_IF_ERROR(database_->SelectBucket(bucket.bucket));
    }
    return absl::OkStatus();
  }

  // This server is behind the one that a part of the load came from. What both can agree on is the
  // last complete checkpoint, or nothing.
  absl::Status StartOver() {
    if (database_->position() >= 0) {
      database_->Rollback();
    } else {
      std::vector<std::string> all;
      for (const auto& [bucket, after] : database_->Have()) {
        all.push_back(bucket);
      }
      RETURN_IF_ERROR(database_->Drop(all));
    }
    reconnect_ = true;
    return absl::AbortedError("the load starts over");
  }

  absl::Status OnBucket(std::string_view bucket) override {
    RETURN_IF_ERROR(CheckAnnounced(bucket));
    return database_->SelectBucket(bucket);
  }

  // What is not announced would be neither verified nor ever dropped.
  absl::Status CheckAnnounced(std::string_view bucket) const {
    if (!in_checkpoint_) {
      return OutOfOrder("operations that belong to no checkpoint");
    }
    return mine_.contains(bucket)
               ? absl::OkStatus()
               : OutOfOrder(
                     fmt::format("operations of bucket {}, which its checkpoint lacks", bucket));
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
    RETURN_IF_ERROR(CheckAnnounced(bucket));
    ++total_.buckets_reset;
    RETURN_IF_ERROR(database_->Drop({std::string(bucket)}));
    return database_->SelectBucket(bucket);
  }

  absl::Status OnComplete(int64_t position) override {
    if (!in_checkpoint_) {
      return OutOfOrder("the end of a checkpoint that did not begin");
    }
    if (position != target_) {
      return OutOfOrder(
          fmt::format("the end of checkpoint {} as that of checkpoint {}", position, target_));
    }
    ASSIGN_OR_RETURN(const std::vector<std::string> differing, database_->Differing(announced_));
    if (!differing.empty()) {
      return Reload(differing);
    }
    RETURN_IF_ERROR(database_->Complete(position));
    completed_ = true;
    in_checkpoint_ = false;
    reloaded_.clear();
    ++total_.checkpoints;
    total_.position = position;
    total_.buckets = announced_.size();
    if (on_checkpoint_) {
      on_checkpoint_(total_);
    }
    return absl::OkStatus();
  }

  // A bucket that differs is loaded anew once, and nothing else is. What the connection still
  // brings belongs to what was dropped: the error stops it.
  absl::Status Reload(const std::vector<std::string>& differing) {
    RETURN_IF_ERROR(database_->Drop(differing));  // a first load must not keep it either
    for (const std::string& bucket : differing) {
      if (!reloaded_.insert(bucket).second) {
        return Error(
            absl::StatusCode::kDataLoss, "checksum_mismatch",
            fmt::format(
                "bucket {} differs from what the server announces, also after it was loaded anew; "
                "nothing of this checkpoint is shown",
                bucket));
      }
      ++total_.buckets_reloaded;
    }
    reconnect_ = true;
    return absl::AbortedError("buckets have to be loaded anew");
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
  std::set<std::string, std::less<>> mine_;  // their names
  uint64_t rows_total_ = 0;
  std::set<std::string> reloaded_;
  bool in_checkpoint_ = false;
  int64_t target_ = -1;      // its position
  bool completed_ = false;   // a checkpoint, on this connection
  bool progressed_ = false;  // a frame of operations, on this connection
  bool reconnect_ = false;   // ask anew at once, with what is held now

  std::chrono::milliseconds retry_after_{0};  // as the last refusal said

  absl::Mutex cancel_mutex_;
  bool cancelled_ ABSL_GUARDED_BY(cancel_mutex_) = false;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Puller>> Puller::Open(PullOptions options) {
  while (options.url.ends_with('/')) {
    options.url.pop_back();
  }
  RETURN_IF_ERROR(CheckUrl(options.url));
  RETURN_IF_ERROR(CheckOrg(options.org));
  auto puller = std::make_unique<HttpPuller>(std::move(options));
  RETURN_IF_ERROR(puller->Init());
  return puller;
}

}  // namespace sluice::client
