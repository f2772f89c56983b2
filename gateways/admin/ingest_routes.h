#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "gateways/admin/applied_wait.h"
#include "gateways/admin/request_context.h"
#include "gateways/http/content_coding.h"
#include "gateways/ingest/ingest_service.h"
#include "gateways/ingest/ingest_session.h"
#include "gateways/ingest/json_split.h"

namespace sluice::gateways {

// application/json is held whole, to be answered 400 where it is no JSON; NDJSON is not.
inline constexpr size_t kJsonBodyBytesMax = 16 << 20;

// A body of NDJSON on its way: takes its pieces in order. Each call may block, on whatever thread,
// one at a time.
class IngestLines {
 public:
  IngestLines(IngestService& service, const RequestContext& context, const OrgId& org,
              std::unique_ptr<ContentDecoder> decoder, uint64_t body_bytes_max, StopOn stop_on);

  // kNotFound "org_not_found", kFailedPrecondition "org_not_ready".
  [[nodiscard]] absl::Status Begin() { return session_.Refresh(); }
  // A piece as it is on the wire. "too_large" past the body's limit, "invalid_argument" where its
  // encoding is damaged; what came before is taken all the same.
  [[nodiscard]] absl::Status Feed(std::string_view piece);
  // The sender is silent, or has ended: answers what is done by now.
  void Settle() { session_.Settle(); }
  // Nothing more comes; `whole`: the body came to its end. As IngestSession::End().
  [[nodiscard]] absl::Status End(bool whole);

  // Answers since the last call, JSON objects each after an end of line but the first.
  std::string TakeAnswers() { return session_.TakeAnswers(); }
  // Bytes of answers that were taken and are not sent yet: too many, and nothing more is taken.
  void set_unsent(size_t bytes) { session_.set_unsent(bytes); }
  // Nothing more is taken.
  bool cut() const { return cut_; }
  const IngestSession& session() const { return session_; }
  Offset last() const { return session_.last(); }

 private:
  void Take(std::string_view line, bool too_long);
  // Why no more sets are taken in this request.
  absl::Status MayTake() const;

  const IngestOptions& options_;
  const Clock& clock_;
  const std::shared_ptr<const Principal> principal_;
  IngestSession session_;
  const std::unique_ptr<ContentDecoder> decoder_;
  const uint64_t body_bytes_max_;
  LineSplitter splitter_;
  uint64_t bytes_ = 0;
  bool cut_ = false;
};

// The sets of an application/json body.
struct IngestJson {
  IngestSession session;
  JsonShape shape;
};

// POST /v1/orgs/{org}/changes (gateways/docs/api.md, section 2). Thread-safe.
class IngestRoutes {
 public:
  enum class Format { kLines, kJson };

  IngestRoutes(IngestService& service, const AppliedWait& applied, uint64_t body_bytes_max)
      : service_(service), applied_(applied), body_bytes_max_(body_bytes_max) {}

  // By Content-Type. Code "unsupported_media_type".
  [[nodiscard]] static absl::StatusOr<Format> FormatOf(const HttpHead& http);

  // application/json, with its whole body: takes its sets. They are answered once the session waits
  // for no more, by EndJson().
  [[nodiscard]] absl::StatusOr<std::unique_ptr<IngestJson>> BeginJson(
      const RequestContext& context) const;
  [[nodiscard]] absl::StatusOr<Answer> EndJson(const RequestContext& context,
                                               IngestJson& json) const;
  // NDJSON. Looks at nothing but the head. `may_hold`: memory for decompression.
  [[nodiscard]] absl::StatusOr<std::unique_ptr<IngestLines>> BeginLines(
      const RequestContext& context, ContentDecoder::MayHold may_hold) const;
  // What `?wait` asks for once everything is durable; nullopt where it asks for nothing.
  [[nodiscard]] absl::StatusOr<std::optional<AnswerWait>> Wait(const RequestContext& context,
                                                               Offset last) const;

 private:
  IngestService& service_;
  const AppliedWait& applied_;
  const uint64_t body_bytes_max_;
};

}  // namespace sluice::gateways
