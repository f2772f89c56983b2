#include "gateways/odata/odata_client.h"

#include <fmt/format.h>
#include <openssl/crypto.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "gateways/odata/csdl_json.h"
#include "gateways/odata/csdl_xml.h"
#include "gateways/odata/odata_url.h"
#include "gateways/outbound/retry_after.h"
#include "schemas/base/ascii.h"
#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

using std::chrono::milliseconds;

constexpr size_t kErrorBytesMax = size_t{16} << 10;  // of a refusal's body that are looked at
constexpr size_t kErrorCodeMax = 64;
// A run keeps its place while it waits, so it does not wait long, nor often for one answer.
constexpr milliseconds kPauseMax{30'000};
constexpr int kPausesMax = 5;

enum class AuthKind : uint8_t { kNone, kBasic, kBearer, kClientCredentials };

std::optional<AuthKind> AuthKindOf(std::string_view kind) {
  if (kind.empty() || kind == "none") {
    return AuthKind::kNone;
  }
  if (kind == "basic") {
    return AuthKind::kBasic;
  }
  if (kind == "bearer") {
    return AuthKind::kBearer;
  }
  if (kind == "client_credentials") {
    return AuthKind::kClientCredentials;
  }
  return std::nullopt;
}

absl::Status InvalidAuth(std::string_view why) {
  return Error(absl::StatusCode::kInvalidArgument, "invalid_argument", why);
}

absl::Status AnswerInvalid(std::string_view why) {
  return Error(absl::StatusCode::kUnavailable, "source_answer_invalid", why);
}

std::string WithoutQuery(std::string_view url) { return std::string(url.substr(0, url.find('?'))); }

// {"error":{"code":"..."}}, where that is a plain word: nothing else that a service says may reach
// a message.
std::string ErrorCodeOf(std::string_view body) {
  const nlohmann::json answer = nlohmann::json::parse(body, nullptr, false);
  const auto error = answer.is_object() ? answer.find("error") : answer.end();
  if (error == answer.end() || !error->is_object()) {
    return {};
  }
  const auto code = error->find("code");
  if (code == error->end() || !code->is_string()) {
    return {};
  }
  const auto text = code->get<std::string>();
  const bool plain = text.size() <= kErrorCodeMax && std::ranges::all_of(text, [](char c) {
                       return IsLetterOrDigit(c) || c == '_' || c == '.' || c == '-';
                     });
  return plain ? text : std::string();
}

bool IsXmlContentType(std::string_view content_type) {
  const std::string type = ToLower(TrimBlanks(content_type.substr(0, content_type.find(';'))));
  return type == "application/xml" || type == "text/xml" || type.ends_with("+xml");
}

// Whether a list of preferences ("odata.track-changes; x, respond-async") has it, in either
// spelling.
bool HasTrackChanges(std::string_view preferences) {
  while (!preferences.empty()) {
    const size_t comma = preferences.find(',');
    std::string_view item = preferences.substr(0, comma);
    preferences =
        comma == std::string_view::npos ? std::string_view() : preferences.substr(comma + 1);
    item = TrimBlanks(item.substr(0, item.find_first_of(";=")));
    if (EqualsIgnoringCase(item, "odata.track-changes") ||
        EqualsIgnoringCase(item, "track-changes")) {
      return true;
    }
  }
  return false;
}

bool SaysTracking(const OutboundResponse& head) {
  const auto [from, to] = head.headers.equal_range("preference-applied");
  return std::any_of(from, to, [](const auto& header) { return HasTrackChanges(header.second); });
}

// Ends an answer of which enough was read.
absl::Status Enough() { return absl::OutOfRangeError("enough rows"); }

}  // namespace

absl::Status ValidateAuth(const v1::SourceAuth& auth) {
  const auto kind = AuthKindOf(auth.kind());
  if (!kind.has_value()) {
    return InvalidAuth("auth.kind is none, basic, bearer or client_credentials");
  }
  if (*kind == AuthKind::kBasic && auth.username().empty()) {
    return InvalidAuth("auth.kind basic needs a username");
  }
  if (*kind == AuthKind::kClientCredentials &&
      (auth.token_url().empty() || auth.client_id().empty())) {
    return InvalidAuth("auth.kind client_credentials needs a token_url and a client_id");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<ODataClient>> ODataClient::Create(
    OutboundClient& outbound, const Clock& clock, const v1::SourceSettings& settings,
    const Secrets& secrets, std::function<bool()> stopping, Pause pause) {
  ASSIGN_OR_RETURN(Url root, ServiceRoot(settings.url()));
  RETURN_IF_ERROR(ValidateAuth(settings.auth()));
  std::unique_ptr<ODataClient> client(new ODataClient(outbound, clock, settings, std::move(root),
                                                      std::move(stopping), std::move(pause)));
  RETURN_IF_ERROR(client->SetSecret(secrets));
  return client;
}

absl::Status ODataClient::SetSecret(const Secrets& secrets) {
  const v1::SourceAuth& auth = settings_.auth();
  const AuthKind kind = *AuthKindOf(auth.kind());
  if (kind == AuthKind::kNone) {
    return absl::OkStatus();
  }
  const std::string_view name = kind == AuthKind::kBasic    ? "password"
                                : kind == AuthKind::kBearer ? "token"
                                                            : "client_secret";
  const auto found = secrets.find(name);
  if (found == secrets.end()) {
    return Error(absl::StatusCode::kFailedPrecondition, "secrets_missing",
                 fmt::format("the source {} has no secret {}, which its authentication needs",
                             settings_.name(), name));
  }
  if (kind == AuthKind::kClientCredentials) {
    tokens_ = std::make_unique<TokenClient>(
        outbound_, clock_, TokenEndpoint{auth.token_url(), auth.client_id(), auth.scope()},
        found->second);
  } else {
    secret_ = &found->second;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ODataClient::Authorization() {
  if (tokens_ != nullptr) {
    return tokens_->Authorization(stopping_);
  }
  if (secret_ == nullptr) {
    return std::string();
  }
  if (*AuthKindOf(settings_.auth().kind()) == AuthKind::kBasic) {
    return BasicAuthorization(settings_.auth().username(), *secret_);
  }
  return fmt::format("Bearer {}", secret_->Reveal());
}

absl::Status ODataClient::Refusal(const std::string& url, const OutboundResponse& head,
                                  std::string_view body) const {
  const std::string code = ErrorCodeOf(body);
  const std::string what = fmt::format("{} answers with HTTP status {}{}{}", WithoutQuery(url),
                                       head.status, code.empty() ? "" : ", ", code);
  if (head.status == 429 || head.status == 503) {
    absl::Status status = Error(absl::StatusCode::kUnavailable, "source_resting", what);
    const auto wait =
        ParseRetryAfter(head.Header("retry-after"), head.Header("date"), clock_.Now());
    return wait.has_value() ? WithRetryAfter(std::move(status), *wait) : status;
  }
  // 501 is no failure: what was asked for is not implemented ($count, $orderby).
  if ((head.status >= 500 && head.status != 501) || head.status == 408) {
    return Error(absl::StatusCode::kUnavailable, "source_unreachable", what);
  }
  if (head.status == 401 || head.status == 403) {
    return Error(absl::StatusCode::kFailedPrecondition, "source_unauthorized", what);
  }
  return head.status >= 400 ? Error(absl::StatusCode::kFailedPrecondition, "source_refused", what)
                            : AnswerInvalid(what);
}

absl::Status ODataClient::Get(const std::string& url, Headers headers,
                              absl::FunctionRef<absl::Status(const OutboundResponse&)> on_head,
                              absl::FunctionRef<absl::Status(std::string_view)> on_body) {
  OutboundRequest request;
  request.url = url;
  request.headers = std::move(headers);
  bool renewed = false;
  for (int pauses = 0;;) {
    ASSIGN_OR_RETURN(request.authorization, Authorization());
    OutboundResponse head;
    std::string refusal;
    absl::Status sent = outbound_.Send(
        request,
        [&](const OutboundResponse& response) {
          head = response;
          return head.status == 200 ? on_head(response) : absl::OkStatus();
        },
        [&](std::string_view piece) {
          if (head.status == 200) {
            return on_body(piece);
          }
          refusal.append(piece.substr(0, kErrorBytesMax - refusal.size()));
          return absl::OkStatus();
        },
        stopping_);
    OPENSSL_cleanse(request.authorization.data(), request.authorization.size());
    if (head.status == 200) {
      return sent;
    }
    if (sent.ok() && head.status == 401 && tokens_ != nullptr && !renewed) {
      tokens_->Forget();
      renewed = true;
      continue;
    }
    absl::Status failed = sent.ok() ? Refusal(url, head, refusal) : std::move(sent);
    const auto wait = RetryAfterOf(failed);
    const bool again =
        wait.has_value() && *wait <= kPauseMax && pauses++ < kPausesMax && pause_ && pause_(*wait);
    if (!again) {
      return failed;
    }
  }
}

absl::StatusOr<Csdl> ODataClient::GetMetadata() {
  const std::string url = MetadataUrl(root_);
  CsdlXmlReader xml;
  std::string json;
  bool is_json = false;
  RETURN_IF_ERROR(Get(
      url,
      {{"Accept", "application/xml"},
       {"OData-MaxVersion", settings_.odata_version().empty() ? "4.0" : settings_.odata_version()}},
      [&](const OutboundResponse& head) {
        const std::string_view type = head.Header("content-type");
        is_json = IsJsonContentType(type);
        return is_json || IsXmlContentType(type)
                   ? absl::OkStatus()
                   : AnswerInvalid(
                         fmt::format("{} answers with neither XML nor JSON", WithoutQuery(url)));
      },
      [&](std::string_view piece) {
        if (!is_json) {
          return xml.Feed(piece);
        }
        if (json.size() + piece.size() > kCsdlBytesMax) {
          return MetadataInvalid("it is too large");
        }
        json.append(piece);
        return absl::OkStatus();
      }));
  return is_json ? ParseCsdlJson(json) : xml.Finish();
}

absl::StatusOr<ODataPage> ODataClient::GetPage(const Url& url, const PageRequest& request,
                                               PageReader::OnRow on_row) {
  const std::string text = url.ToString();
  Headers headers = {
      {"Accept", "application/json;odata.metadata=minimal;IEEE754Compatible=true"},
      {"OData-MaxVersion", settings_.odata_version().empty() ? "4.0" : settings_.odata_version()},
      {"Prefer", fmt::format("{}odata.maxpagesize={}", request.track ? "odata.track-changes," : "",
                             request.rows)}};
  ODataPage page;
  PageReader reader;
  bool enough = false;
  uint64_t rows = 0;
  const absl::Status read = Get(
      text, std::move(headers),
      [&](const OutboundResponse& head) {
        page.tracks_changes = SaysTracking(head);
        page.date = ParseHttpDate(head.Header("date"));
        return IsJsonContentType(head.Header("content-type"))
                   ? absl::OkStatus()
                   : AnswerInvalid(fmt::format("{} answers with something else than JSON",
                                               url.WithoutQuery()));
      },
      [&](std::string_view piece) {
        return reader.Feed(piece, [&](std::string_view row, bool too_large) {
          enough = request.rows_max > 0 && ++rows > request.rows_max;
          return enough ? Enough() : on_row(row, too_large);
        });
      });
  if (enough) {
    page.end = reader.so_far();
    return page;
  }
  RETURN_IF_ERROR(read);
  ASSIGN_OR_RETURN(page.end, reader.Finish());
  return page;
}

}  // namespace sluice::gateways
