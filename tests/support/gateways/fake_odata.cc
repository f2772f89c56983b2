#include "tests/support/gateways/fake_odata.h"

#include <absl/base/thread_annotations.h>
#include <absl/synchronization/mutex.h>
#include <arpa/inet.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <deque>
#include <string_view>
#include <thread>

#include "schemas/base/datetime.h"

namespace sluice::testing {
namespace {

using Fault = FakeOData::Fault;

std::string Decoded(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size()) {
      out.push_back(static_cast<char>(std::stoi(std::string(text.substr(i + 1, 2)), nullptr, 16)));
      i += 2;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

std::string HttpDate(int64_t micros) {
  const time_t seconds = micros / 1'000'000;
  tm parts{};
  gmtime_r(&seconds, &parts);
  char text[64];
  strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &parts);
  return text;
}

std::string Quoted(const std::string& text) { return "\"" + text + "\""; }

// The numbers of a token, "12-5-0" behind its kind.
std::vector<int64_t> Numbers(std::string_view token) {
  std::vector<int64_t> numbers;
  while (!token.empty()) {
    const size_t end = token.find('-');
    numbers.push_back(std::stoll(std::string(token.substr(0, end))));
    token = end == std::string_view::npos ? std::string_view() : token.substr(end + 1);
  }
  return numbers;
}

struct Stored {
  FakeOData::Row row;
  int64_t changed_us = 0;
  bool gone = false;
  // Of the last change: of the row, and of its properties.
  uint64_t version = 0, name_version = 0, balance_version = 0;
};

// A request, as far as it matters.
struct Query {
  std::string path;
  std::map<std::string, std::string> options;
  bool tracks = false;
  bool is_401 = false;

  std::string Get(const std::string& name) const {
    const auto found = options.find(name);
    return found == options.end() ? std::string() : found->second;
  }
  // Control information, as the version spells it.
  std::string At(const std::string& name) const {
    return Quoted((is_401 ? "@" : "@odata.") + name);
  }
};

std::string HeaderOf(const std::string& head, const std::string& name) {
  const size_t at = head.find("\r\n" + name + ": ");
  const size_t from = at + 4 + name.size();
  return at == std::string::npos ? std::string()
                                 : head.substr(from, head.find("\r\n", from) - from);
}

Query Parse(const std::string& head) {
  Query query;
  const size_t from = head.find(' ') + 1;
  std::string_view target = std::string_view(head).substr(from, head.find(' ', from) - from);
  const size_t mark = target.find('?');
  query.path = Decoded(target.substr(0, mark));
  std::string_view rest = mark == std::string_view::npos ? "" : target.substr(mark + 1);
  while (!rest.empty()) {
    const std::string_view option = rest.substr(0, rest.find('&'));
    rest.remove_prefix(std::min(option.size() + 1, rest.size()));
    const size_t equals = option.find('=');
    query.options[Decoded(option.substr(0, equals))] = Decoded(option.substr(equals + 1));
  }
  query.tracks = HeaderOf(head, "Prefer").find("track-changes") != std::string::npos;
  query.is_401 = HeaderOf(head, "OData-MaxVersion") == "4.01";
  return query;
}

}  // namespace

struct FakeOData::Impl {
  struct Page {
    std::vector<std::string> rows;
    std::string next;   // link
    std::string delta;  // link
  };

  void Serve();
  void Answer(int fd);
  std::string Respond(const std::string& head, bool* cut);
  std::string Metadata() const;
  std::string Rows(const Query& query, bool* cut);

  std::string Id(int64_t id) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  std::string KeyJson(int64_t id) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  std::string Json(int64_t id, const Stored& stored, bool keys, uint64_t since) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  std::string DeletedJson(int64_t id, const Query& query) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  std::string Link(const std::string& options) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  // Of a load from behind the row `from` on, of a delta from the version `since` on.
  Page MakePage(const Query& query, uint64_t since, uint64_t as_of, int64_t from, bool tracks) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  Page PollPage(int64_t since_us, int64_t from) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  std::string Http(std::string_view status, std::string_view type, const std::string& body,
                   std::string_view headers = "") const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);

  int listener = -1;
  int port = 0;
  std::thread thread;
  mutable absl::Mutex mutex;
  Options options ABSL_GUARDED_BY(mutex);
  std::map<int64_t, Stored> rows ABSL_GUARDED_BY(mutex);
  uint64_t version ABSL_GUARDED_BY(mutex) = 1;
  uint64_t expired_below ABSL_GUARDED_BY(mutex) = 0;
  int64_t now_us ABSL_GUARDED_BY(mutex) = 1'790'000'000'000'000;
  size_t changes ABSL_GUARDED_BY(mutex) = 0;
  int metadata_requests ABSL_GUARDED_BY(mutex) = 0;
  std::deque<Fault> faults ABSL_GUARDED_BY(mutex);
  std::vector<std::string> requests ABSL_GUARDED_BY(mutex);
  std::function<void()> before_page ABSL_GUARDED_BY(mutex);
};

FakeOData::FakeOData(const Options& options) : impl_(std::make_unique<Impl>()) {
  {
    absl::MutexLock lock(&impl_->mutex);
    impl_->options = options;
  }
  impl_->listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  EXPECT_EQ(::bind(impl_->listener, reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(::listen(impl_->listener, 64), 0);
  EXPECT_EQ(::getsockname(impl_->listener, reinterpret_cast<sockaddr*>(&address), &size), 0);
  impl_->port = ntohs(address.sin_port);
  impl_->thread = std::thread([impl = impl_.get()] { impl->Serve(); });
}

FakeOData::~FakeOData() {
  ::shutdown(impl_->listener, SHUT_RDWR);
  impl_->thread.join();
  ::close(impl_->listener);
}

std::string FakeOData::url() const { return fmt::format("http://127.0.0.1:{}/svc/", impl_->port); }

void FakeOData::Put(int64_t id, Row row) {
  absl::MutexLock lock(&impl_->mutex);
  Stored& stored = impl_->rows[id];
  const bool created = stored.version == 0 || stored.gone;
  if (!created && stored.row == row) {
    return;
  }
  const uint64_t version = ++impl_->version;
  if (created || stored.row.name != row.name) {
    stored.name_version = version;
  }
  if (created || stored.row.balance != row.balance) {
    stored.balance_version = version;
  }
  stored.row = std::move(row);
  stored.version = version;
  stored.gone = false;
  stored.changed_us = ++impl_->now_us;
  ++impl_->changes;
}

void FakeOData::Remove(int64_t id) {
  absl::MutexLock lock(&impl_->mutex);
  const auto found = impl_->rows.find(id);
  if (found == impl_->rows.end() || found->second.gone) {
    return;
  }
  found->second.gone = true;
  found->second.version = ++impl_->version;
  ++impl_->changes;
}

void FakeOData::Advance(int64_t micros) {
  absl::MutexLock lock(&impl_->mutex);
  impl_->now_us += micros;
}

int64_t FakeOData::now_us() const {
  absl::MutexLock lock(&impl_->mutex);
  return impl_->now_us;
}

std::map<int64_t, FakeOData::Row> FakeOData::rows() const {
  absl::MutexLock lock(&impl_->mutex);
  std::map<int64_t, Row> rows;
  for (const auto& [id, stored] : impl_->rows) {
    if (!stored.gone) {
      rows[id] = stored.row;
    }
  }
  return rows;
}

std::string FakeOData::KeyOf(int64_t id) const {
  absl::MutexLock lock(&impl_->mutex);
  return impl_->options.composed_key ? fmt::format("{},{}", id / 10, id % 10) : std::to_string(id);
}

size_t FakeOData::changes() const {
  absl::MutexLock lock(&impl_->mutex);
  return impl_->changes;
}

void FakeOData::Fail(Fault fault) {
  absl::MutexLock lock(&impl_->mutex);
  impl_->faults.push_back(fault);
}

void FakeOData::ClearFaults() {
  absl::MutexLock lock(&impl_->mutex);
  impl_->faults.clear();
}

void FakeOData::Expire() {
  absl::MutexLock lock(&impl_->mutex);
  impl_->expired_below = ++impl_->version;
}

void FakeOData::Change(const std::function<void(Options&)>& change) {
  absl::MutexLock lock(&impl_->mutex);
  change(impl_->options);
}

void FakeOData::set_before_page(std::function<void()> hook) {
  absl::MutexLock lock(&impl_->mutex);
  impl_->before_page = std::move(hook);
}

std::vector<std::string> FakeOData::requests() const {
  absl::MutexLock lock(&impl_->mutex);
  return impl_->requests;
}

int FakeOData::metadata_requests() const {
  absl::MutexLock lock(&impl_->mutex);
  return impl_->metadata_requests;
}

void FakeOData::Impl::Serve() {
  for (;;) {
    const int fd = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) {
      return;
    }
    Answer(fd);
    ::close(fd);
  }
}

void FakeOData::Impl::Answer(int fd) {
  std::string head;
  char buffer[8192];
  while (head.find("\r\n\r\n") == std::string::npos) {
    const ssize_t read = ::recv(fd, buffer, sizeof(buffer), 0);
    if (read <= 0) {
      return;
    }
    head.append(buffer, static_cast<size_t>(read));
  }
  bool cut = false;
  const std::string answer = Respond(head, &cut);
  std::string_view rest =
      std::string_view(answer).substr(0, cut ? answer.size() / 2 : answer.size());
  while (!rest.empty()) {
    const ssize_t sent = ::send(fd, rest.data(), rest.size(), MSG_NOSIGNAL);
    if (sent <= 0) {
      return;
    }
    rest.remove_prefix(static_cast<size_t>(sent));
  }
}

std::string FakeOData::Impl::Http(std::string_view status, std::string_view type,
                                  const std::string& body, std::string_view headers) const {
  return fmt::format(
      "HTTP/1.1 {}\r\nContent-Type: {}\r\nDate: {}\r\nContent-Length: {}\r\n{}\r\n{}", status, type,
      HttpDate(now_us), body.size(), headers, body);
}

std::string FakeOData::Impl::Respond(const std::string& head, bool* cut) {
  const Query query = Parse(head);
  if (query.path == "/svc/$metadata") {
    absl::MutexLock lock(&mutex);
    ++metadata_requests;
    return Http("200 OK", "application/xml", Metadata());
  }
  std::function<void()> hook;
  {
    absl::MutexLock lock(&mutex);
    requests.push_back(head);
    hook = before_page;
  }
  if (hook) {
    hook();
  }
  return Rows(query, cut);
}

std::string FakeOData::Impl::Metadata() const {
  mutex.AssertHeld();
  const std::string_view keys =
      options.swapped_key    ? R"(<PropertyRef Name="No"/><PropertyRef Name="Group"/>)"
      : options.composed_key ? R"(<PropertyRef Name="Group"/><PropertyRef Name="No"/>)"
                             : R"(<PropertyRef Name="ID"/>)";
  const std::string_view key_properties =
      options.composed_key ? R"(<Property Name="Group" Type="Edm.Int64" Nullable="false"/>
        <Property Name="No" Type="Edm.Int32" Nullable="false"/>)"
                           : R"(<Property Name="ID" Type="Edm.Int64" Nullable="false"/>)";
  return fmt::format(R"(<?xml version="1.0"?>
<edmx:Edmx Version="4.0" xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx"><edmx:DataServices>
<Schema Namespace="svc" xmlns="http://docs.oasis-open.org/odata/ns/edm">
  <EntityType Name="Item"><Key>{}</Key>{}
    <Property Name="Name" Type="Edm.String"/>
    <Property Name="Balance" Type="Edm.Decimal" Precision="12" Scale="2"/>
    <Property Name="Changed" Type="Edm.DateTimeOffset" Precision="6"/>
    <Property Name="Shape" Type="Edm.Geography"/>
  </EntityType>
  <EntityContainer Name="Box"><EntitySet Name="Items" EntityType="svc.Item"/></EntityContainer>
</Schema></edmx:DataServices></edmx:Edmx>)",
                     keys, key_properties);
}

std::string FakeOData::Impl::Id(int64_t id) const {
  return options.composed_key ? fmt::format("Items(No={},Group={})", id % 10, id / 10)
                              : fmt::format("Items({})", id);
}

std::string FakeOData::Impl::KeyJson(int64_t id) const {
  return options.composed_key ? fmt::format(R"("Group":"{}","No":{})", id / 10, id % 10)
                              : fmt::format(R"("ID":"{}")", id);
}

std::string FakeOData::Impl::Json(int64_t id, const Stored& stored, bool keys,
                                  uint64_t since) const {
  const bool partial = options.partial;
  std::string json = "{" + KeyJson(id);
  if (!keys && !(partial && stored.name_version <= since)) {
    json += ",\"Name\":" + (stored.row.name.has_value() ? Quoted(*stored.row.name) : "null");
  }
  if (!keys && !(partial && stored.balance_version <= since)) {
    json += ",\"Balance\":" + Quoted(stored.row.balance);
  }
  if (!keys) {
    json += ",\"Changed\":" + Quoted(FormatDatetime(stored.changed_us));
  }
  return json + "}";
}

std::string FakeOData::Impl::DeletedJson(int64_t id, const Query& query) const {
  if (!query.is_401) {
    return fmt::format(
        R"({{"@odata.context":"$metadata#Items/$deletedEntity","id":"{}","reason":"deleted"}})",
        Id(id));
  }
  return fmt::format(R"({{"@removed":{{"reason":"deleted"}},{}}})",
                     options.keys_in_deletes ? KeyJson(id) : fmt::format(R"("@id":"{}")", Id(id)));
}

std::string FakeOData::Impl::Link(const std::string& link_options) const {
  return options.relative_links
             ? "Items?" + link_options
             : fmt::format("http://127.0.0.1:{}/svc/Items?{}", port, link_options);
}

FakeOData::Impl::Page FakeOData::Impl::MakePage(const Query& query, uint64_t since, uint64_t as_of,
                                                int64_t from, bool tracks) const {
  Page page;
  const bool delta = since > 0;
  const std::string select = query.Get("$select");
  const bool keys = !select.empty() && select.find("Name") == std::string::npos;
  int64_t last = options.by_offset ? std::max<int64_t>(from, 0) : from;
  int64_t skipped = 0;
  bool more = false;
  for (auto at = options.by_offset ? rows.begin() : rows.upper_bound(from); at != rows.end();
       ++at) {
    const auto& [id, stored] = *at;
    if (delta ? stored.version <= since : stored.gone) {
      continue;
    }
    if (options.by_offset && skipped < from) {
      ++skipped;
      continue;
    }
    if (page.rows.size() == options.page_rows) {
      more = true;
      break;
    }
    last = options.by_offset ? last + 1 : id;
    page.rows.push_back(stored.gone ? DeletedJson(id, query) : Json(id, stored, keys, since));
  }
  if (more) {
    page.next = Link(fmt::format("$skiptoken=L{}-{}-{}-{}&%24select={}", since, as_of, last,
                                 tracks ? 1 : 0, select));
  } else if (tracks) {
    page.delta = Link(fmt::format("$deltatoken={}", as_of));
  }
  return page;
}

FakeOData::Impl::Page FakeOData::Impl::PollPage(int64_t since_us, int64_t from) const {
  std::map<std::pair<int64_t, int64_t>, const Stored*> ordered;
  for (const auto& [id, stored] : rows) {
    if (!stored.gone && stored.changed_us >= since_us) {
      ordered[{stored.changed_us, id}] = &stored;
    }
  }
  Page page;
  for (auto at = ordered.upper_bound({since_us, from}); at != ordered.end(); ++at) {
    if (page.rows.size() == options.page_rows) {
      const auto& [changed_us, id] = std::prev(at)->first;
      page.next = Link(fmt::format("$skiptoken=P{}-{}-{}", changed_us, id, version));
      break;
    }
    page.rows.push_back(Json(at->first.second, *at->second, false, 0));
  }
  return page;
}

std::string FakeOData::Impl::Rows(const Query& query, bool* cut) {
  absl::MutexLock lock(&mutex);
  const auto refuse = [&](std::string_view status, std::string_view headers = "") {
    mutex.AssertHeld();
    return Http(status, "application/json", R"({"error":{"code":"Bad","message":"secret"}})",
                headers);
  };
  std::optional<Fault> fault;
  if (!faults.empty()) {
    fault = faults.front();
    faults.pop_front();
  }
  if (fault == Fault::kTooManyRequests) {
    return refuse("429 Too Many", "Retry-After: 7\r\n");
  }
  if (fault == Fault::kFailed) {
    return refuse("500 Failed");
  }
  if (fault == Fault::kGone) {
    return refuse("410 Gone");
  }
  if (fault == Fault::kUnauthorized) {
    return refuse("401 Unauthorized");
  }
  if (fault == Fault::kHtml) {
    return Http("200 OK", "text/html", "<html>please log in</html>");
  }
  if (query.path != "/svc/Items") {
    return refuse("404 Not Found");
  }
  if (query.options.contains("again") && fault != Fault::kLoop) {
    return refuse("410 Gone");  // of a loop that has ended
  }
  if (query.options.contains("$count") && !options.counts) {
    return refuse(fmt::format("{} Bad Request", options.no_count_status));
  }
  const std::string skip = query.Get("$skiptoken");
  const std::string delta = query.Get("$deltatoken");
  const std::string filter = query.Get("$filter");
  const bool tracks = query.tracks && options.tracks;
  Page page;
  uint64_t as_of = version;
  if (!delta.empty()) {
    as_of = std::stoull(delta);
    page = MakePage(query, as_of, version, INT64_MIN, true);
  } else if (skip.starts_with('L')) {
    const std::vector<int64_t> token = Numbers(std::string_view(skip).substr(1));
    as_of = static_cast<uint64_t>(token[1]);
    page = MakePage(query, static_cast<uint64_t>(token[0]), as_of, token[2], token[3] == 1);
  } else if (skip.starts_with('P')) {
    const std::vector<int64_t> token = Numbers(std::string_view(skip).substr(1));
    as_of = static_cast<uint64_t>(token[2]);
    page = PollPage(token[0], token[1]);
  } else if (!filter.empty()) {
    page = PollPage(*ParseDatetime(filter.substr(std::string_view("Changed ge ").size())), -1);
  } else {
    page = MakePage(query, 0, version, INT64_MIN, tracks);
  }
  if (as_of < expired_below) {
    return refuse("410 Gone");
  }
  if (fault == Fault::kEmpty) {
    page = Page();
  }
  if (fault == Fault::kHollow) {
    page = Page();
    page.next = Link(fmt::format("hollow={}", requests.size()));
    faults.push_front(Fault::kHollow);
  }
  if (fault == Fault::kNoLink) {
    page.next.clear();
    page.delta.clear();
  }
  if (fault == Fault::kElsewhere) {
    page.next = "http://127.0.0.2/svc/Items?x";
  }
  std::string body = "{" + query.At("context") + ":\"$metadata#Items\"";
  if (query.options.contains("$count")) {
    const auto count =
        std::ranges::count_if(rows, [](const auto& row) { return !row.second.gone; });
    body += fmt::format(",{}:\"{}\"", query.At("count"), count + options.count_more);
  }
  body += ",\"value\":[";
  for (size_t i = 0; i < page.rows.size(); ++i) {
    body += (i == 0 ? "" : ",") + page.rows[i];
  }
  body += "]";
  if (fault == Fault::kLoop) {
    std::string options_text;
    for (const auto& [name, value] : query.options) {
      options_text += (options_text.empty() ? "" : "&") + name + "=" + value;
    }
    body += fmt::format(",{}:\"http://127.0.0.1:{}/svc/Items?{}&again=1\"", query.At("nextLink"),
                        port, options_text);
    faults.push_front(Fault::kLoop);
  } else if (fault == Fault::kBadLink) {
    body += fmt::format(",{}:5", query.At("nextLink"));
  } else if (!page.next.empty()) {
    body += fmt::format(",{}:\"{}\"", query.At("nextLink"), page.next);
  } else if (!page.delta.empty()) {
    body += fmt::format(",{}:\"{}\"", query.At("deltaLink"), page.delta);
  }
  body += "}";
  if (fault == Fault::kCutJson) {
    body.resize(body.size() / 2);
  }
  *cut = fault == Fault::kCut;
  return Http("200 OK", "application/json;odata.metadata=minimal", body,
              tracks ? "Preference-Applied: odata.track-changes\r\n" : "");
}

}  // namespace sluice::testing
