#include "gateways/outbound/token_client.h"

#include <fmt/format.h>
#include <openssl/crypto.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "gateways/outbound/retry_after.h"
#include "gateways/percent.h"
#include "schemas/base/ascii.h"
#include "schemas/base/status.h"
#include "schemas/base/text_codec.h"

namespace sluice::gateways {
namespace {

using std::chrono::seconds;

constexpr size_t kAnswerBytesMax = size_t{64} << 10;
constexpr std::chrono::milliseconds kTimeout{30'000};
constexpr seconds kRenewBefore{60};
constexpr seconds kLifetimeDefault{300};  // of a token whose answer does not say
constexpr seconds kLifetimeMax{86'400};

// A secret on its way into a request or out of an answer, overwritten when it is no longer needed.
class Wiped {
 public:
  Wiped() = default;
  explicit Wiped(std::string from) : text(std::move(from)) {}
  Wiped(const Wiped&) = delete;
  Wiped& operator=(const Wiped&) = delete;
  ~Wiped() { OPENSSL_cleanse(text.data(), text.size()); }

  std::string text;
};

// application/x-www-form-urlencoded.
std::string FormEncoded(std::string_view text) {
  std::string out = PercentEncode(text, "-._* ");
  std::ranges::replace(out, ' ', '+');
  return out;
}

std::string Basic(std::string_view user, std::string_view password) {
  Wiped pair;
  pair.text.reserve(user.size() + 1 + password.size());
  pair.text.append(user).append(1, ':').append(password);
  constexpr std::string_view kScheme = "Basic ";
  std::string header(kScheme.size() + Base64Size(pair.text.size()), ' ');
  header.replace(0, kScheme.size(), kScheme);
  EncodeBase64(pair.text, header.data() + kScheme.size());
  return header;
}

// A string member; empty where there is none.
std::string TextOf(const nlohmann::json& answer, const char* name) {
  const auto found = answer.find(name);
  return found != answer.end() && found->is_string() ? found->get<std::string>() : std::string();
}

// The answer's error code, where it is one as RFC 6749, section 5.2, has them: nothing else of what
// the server says may reach a message.
std::string ErrorOf(const nlohmann::json& answer) {
  const std::string code = answer.is_object() ? TextOf(answer, "error") : std::string();
  const bool plain = code.size() <= 64 && std::ranges::all_of(code, [](char c) {
                       return (c >= 'a' && c <= 'z') || c == '_';
                     });
  return plain && !code.empty() ? code : "no error code";
}

bool IsTokenText(std::string_view token) {
  return !token.empty() && std::ranges::all_of(token, [](char c) { return c > 0x20 && c < 0x7f; });
}

seconds LifetimeOf(const nlohmann::json& answer) {
  const auto found = answer.find("expires_in");
  // Some servers write the number as a string.
  const std::string text = found == answer.end() ? std::string()
                           : found->is_string()  ? found->get<std::string>()
                                                 : found->dump();
  const bool number = !text.empty() && text.size() <= 18 && std::ranges::all_of(text, IsDigit);
  return number ? std::min(seconds(std::stoll(text)), kLifetimeMax) : kLifetimeDefault;
}

}  // namespace

std::string BasicAuthorization(std::string_view user, const SecretText& password) {
  return Basic(user, password.Reveal());
}

TokenClient::TokenClient(OutboundClient& outbound, const Clock& clock, TokenEndpoint endpoint,
                         const SecretText& secret)
    : outbound_(outbound), clock_(clock), endpoint_(std::move(endpoint)), secret_(secret) {}

absl::StatusOr<std::string> TokenClient::Authorization(const std::function<bool()>& stopping) {
  if (authorization_.empty() || clock_.SteadyNow() >= renew_at_) {
    RETURN_IF_ERROR(Fetch(stopping));
  }
  return std::string(authorization_.Reveal());
}

void TokenClient::Forget() { authorization_ = SecretText(); }

absl::Status TokenClient::Fetch(const std::function<bool()>& stopping) {
  Forget();
  OutboundRequest request;
  request.method = "POST";
  request.url = endpoint_.url;
  request.headers = {{"Content-Type", "application/x-www-form-urlencoded"},
                     {"Accept", "application/json"}};
  const Wiped encoded(FormEncoded(secret_.Reveal()));
  request.authorization = Basic(FormEncoded(endpoint_.client_id), encoded.text);
  request.body = "grant_type=client_credentials";
  if (!endpoint_.scope.empty()) {
    request.body += "&scope=" + FormEncoded(endpoint_.scope);
  }
  request.body_bytes_max = kAnswerBytesMax;
  request.timeout = kTimeout;
  // From here, not from the answer: a token that is thought to live too long is refused amid pages.
  const SteadyTime asked = clock_.SteadyNow();
  OutboundResponse head;
  Wiped body;
  body.text.reserve(kAnswerBytesMax);
  const absl::Status sent = outbound_.Send(
      request,
      [&](const OutboundResponse& response) {
        head = response;
        return absl::OkStatus();
      },
      [&](std::string_view piece) {
        body.text.append(piece);
        return absl::OkStatus();
      },
      stopping);
  OPENSSL_cleanse(request.authorization.data(), request.authorization.size());
  RETURN_IF_ERROR_CTX(sent, "asking for an access token");
  const nlohmann::json answer = nlohmann::json::parse(body.text, nullptr, false);
  const auto fail = [&](absl::StatusCode kind, std::string_view code, std::string_view what) {
    return Error(kind, code,
                 fmt::format("asking for an access token: HTTP status {}, {}", head.status, what));
  };
  if (head.status >= 500 || head.status == 429 || head.status == 408) {
    absl::Status status = fail(absl::StatusCode::kUnavailable, "source_unreachable", "try later");
    const auto wait =
        ParseRetryAfter(head.Header("retry-after"), head.Header("date"), clock_.Now());
    return wait.has_value() ? WithRetryAfter(std::move(status), *wait) : status;
  }
  if (head.status >= 400) {
    return fail(absl::StatusCode::kFailedPrecondition, "source_unauthorized", ErrorOf(answer));
  }
  const Wiped token(answer.is_object() ? TextOf(answer, "access_token") : std::string());
  const std::string type = answer.is_object() ? TextOf(answer, "token_type") : std::string();
  const bool bearer = EqualsIgnoringCase(type, "bearer");
  if (head.status != 200 || !IsTokenText(token.text) || !bearer) {
    return fail(absl::StatusCode::kUnavailable, "source_answer_invalid", "and no bearer token");
  }
  const seconds lifetime = LifetimeOf(answer);
  renew_at_ = asked + std::max(lifetime - kRenewBefore, lifetime / 2);
  authorization_ = SecretText("Bearer " + token.text);
  return absl::OkStatus();
}

}  // namespace sluice::gateways
