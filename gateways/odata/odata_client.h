#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gateways/odata/csdl.h"
#include "gateways/odata/page_reader.h"
#include "gateways/outbound/outbound_client.h"
#include "gateways/outbound/token_client.h"
#include "gateways/outbound/url.h"
#include "gateways/sources/connector.h"
#include "schemas/base/clock.h"

namespace sluice::gateways {

struct PageRequest {
  bool track = false;     // the service is asked to track changes from here on
  uint32_t rows = 5'000;  // of a page, as far as the service heeds it
  uint64_t rows_max = 0;  // what comes behind so many is not read; 0: all is
};

// A page, but for its rows.
struct ODataPage {
  PageEnd end;                     // as far as it was read
  bool tracks_changes = false;     // the service says that it does (Preference-Applied)
  std::optional<SystemTime> date;  // of the answer, by the service's clock
};

// Asks one service, for one run: its documents by GET, as whoever the settings say, with a token
// that is renewed. Where the service wants to be left alone for a short while that is waited for
// here, before a row has come. Not thread-safe. Errors beside those of OutboundClient::Send() and
// TokenClient, of which only those of kUnavailable may pass:
//   kFailedPrecondition  "source_unauthorized" (401 with a new token too, 403); "source_refused"
//                        (501, other 4xx: a link that has expired, a set or an option that is none)
//   kUnavailable         "source_resting" (429, 503; with RetryAfterOf() where the service says),
//                        "source_unreachable" (408 and other 5xx), "source_answer_invalid" (no
//                        document of the kind that was asked for)
class ODataClient {
 public:
  // Waits; false: no more. Without one nothing is waited for.
  using Pause = std::function<bool(std::chrono::milliseconds)>;

  // All must outlive this. kInvalidArgument for a URL or a kind of authentication that is none;
  // kFailedPrecondition, code "secrets_missing".
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<ODataClient>> Create(
      OutboundClient& outbound, const Clock& clock, const v1::SourceSettings& settings,
      const Secrets& secrets, std::function<bool()> stopping, Pause pause);

  // The service's root.
  [[nodiscard]] const Url& root() const { return root_; }

  // As XML or as JSON. kFailedPrecondition, code "metadata_invalid".
  [[nodiscard]] absl::StatusOr<Csdl> GetMetadata();

  // Rows are given on as they come, so an error may follow some. An error of `on_row` is returned.
  [[nodiscard]] absl::StatusOr<ODataPage> GetPage(const Url& url, const PageRequest& request,
                                                  PageReader::OnRow on_row);

 private:
  using Headers = std::vector<std::pair<std::string, std::string>>;

  ODataClient(OutboundClient& outbound, const Clock& clock, const v1::SourceSettings& settings,
              Url root, std::function<bool()> stopping, Pause pause)
      : outbound_(outbound),
        clock_(clock),
        settings_(settings),
        root_(std::move(root)),
        stopping_(std::move(stopping)),
        pause_(std::move(pause)) {}

  [[nodiscard]] absl::Status SetSecret(const Secrets& secrets);
  [[nodiscard]] absl::StatusOr<std::string> Authorization();
  // The answer of status 200 to a GET; no other reaches `on_head` and `on_body`.
  [[nodiscard]] absl::Status Get(const std::string& url, Headers headers,
                                 absl::FunctionRef<absl::Status(const OutboundResponse&)> on_head,
                                 absl::FunctionRef<absl::Status(std::string_view)> on_body);
  [[nodiscard]] absl::Status Refusal(const std::string& url, const OutboundResponse& head,
                                     std::string_view body) const;

  OutboundClient& outbound_;
  const Clock& clock_;
  const v1::SourceSettings& settings_;
  const Url root_;
  const std::function<bool()> stopping_;
  const Pause pause_;
  const SecretText* secret_ = nullptr;  // of basic and bearer
  std::unique_ptr<TokenClient> tokens_;
};

// Whether a source's settings have authentication of a known kind, with what it needs beside
// secrets. kInvalidArgument.
[[nodiscard]] absl::Status ValidateAuth(const v1::SourceAuth& auth);

}  // namespace sluice::gateways
