#include <arpa/inet.h>
#include <fmt/format.h>
#include <prometheus/registry.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include "gateways/odata/odata_client.h"
#include "gateways/odata/odata_connector.h"
#include "gateways/outbound/outbound_client.h"
#include "tests/bench/source_bench.h"

// How fast rows of an OData service are loaded, and by what: `odata_load_bench [rows]`. Another
// process answers over loopback with pages of 5,000 rows that it has made before, so that what is
// measured is ours: reading the pages alone, and the whole way into a sink that makes an event of
// each set and drops it. Prints rows/s, the processor's time of this process and its peak memory.
namespace sluice::gateways {
namespace {

constexpr uint64_t kPageRows = 5'000;
constexpr size_t kIdDigits = 12;

constexpr char kMetadata[] =
    R"(<?xml version="1.0"?><edmx:Edmx Version="4.0" xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx">
<edmx:DataServices><Schema Namespace="b" xmlns="http://docs.oasis-open.org/odata/ns/edm">
<EntityType Name="Account"><Key><PropertyRef Name="ID"/></Key>
<Property Name="ID" Type="Edm.Int64" Nullable="false"/><Property Name="Name" Type="Edm.String"/>
<Property Name="Owner" Type="Edm.Guid"/><Property Name="Email" Type="Edm.String"/>
<Property Name="Street" Type="Edm.String"/><Property Name="City" Type="Edm.String"/>
<Property Name="Revenue" Type="Edm.Decimal" Precision="18" Scale="2"/>
<Property Name="Employees" Type="Edm.Int32"/><Property Name="Active" Type="Edm.Boolean"/>
<Property Name="Founded" Type="Edm.Date"/><Property Name="Changed" Type="Edm.DateTimeOffset"/>
<Property Name="Note" Type="Edm.String"/></EntityType>
<EntityContainer Name="C"><EntitySet Name="accounts" EntityType="b.Account"/></EntityContainer>
</Schema></edmx:DataServices></edmx:Edmx>)";

// One page whose ids are written anew for each answer.
class Pages {
 public:
  Pages() {
    body_ = "{\"@odata.context\":\"$metadata#accounts\",\"value\":[";
    for (uint64_t i = 0; i < kPageRows; ++i) {
      body_ += i == 0 ? "{\"ID\":\"" : ",{\"ID\":\"";
      ids_at_[i] = body_.size();
      body_.append(kIdDigits, '0');
      body_ += fmt::format(
          R"(","Name":"Contoso Trading {0}","Owner":"6ad0be0c-44e2-4f8a-9c39-{0:012}",)"
          R"("Email":"info{0}@contoso.example","Street":"{0} Long Street","City":"Köln",)"
          R"("Revenue":"{0}.25","Employees":{0},"Active":true,"Founded":"1999-12-31",)"
          R"("Changed":"2026-01-31T10:00:00.{1:06}Z","Note":"Said \"yes\" in the first call."}})",
          i * 37, i);
    }
    body_ += "]";
  }
  // The page from behind row `from` on, of `rows` in all, as an answer.
  std::string_view Answer(uint64_t from, uint64_t rows, int port) {
    for (uint64_t i = 0; i < kPageRows; ++i) {
      const std::string id = fmt::format("{:012}", 100'000'000'000 + from + i);
      std::memcpy(body_.data() + ids_at_[i], id.data(), kIdDigits);
    }
    const uint64_t next = from + kPageRows;
    const std::string link =
        next < rows
            ? fmt::format(",\"@odata.nextLink\":\"http://127.0.0.1:{}/s/accounts?$skiptoken={}\"}}",
                          port, next)
            : fmt::format(
                  ",\"@odata.deltaLink\":\"http://127.0.0.1:{}/s/accounts?$deltatoken=1\"}}", port);
    answer_ = fmt::format(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
        "Content-Length: {}\r\n\r\n",
        body_.size() + link.size());
    answer_.append(body_).append(link);
    return answer_;
  }
  size_t bytes() const { return body_.size(); }

 private:
  std::string body_;
  std::string answer_;
  size_t ids_at_[kPageRows] = {};
};

void SendAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) {
      return;
    }
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
}

[[noreturn]] void Serve(int listener, int port, uint64_t rows) {
  Pages pages;
  const std::string metadata = fmt::format(
      "HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nContent-Length: {}\r\n\r\n{}",
      std::strlen(kMetadata), kMetadata);
  for (;;) {
    const int fd = ::accept(listener, nullptr, nullptr);
    if (fd < 0) {
      std::_Exit(1);
    }
    char head[16'384];
    const ssize_t read = ::recv(fd, head, sizeof(head), 0);
    const std::string_view text(head, read > 0 ? static_cast<size_t>(read) : 0);
    const std::string_view target = text.substr(0, text.find(" HTTP/"));
    const size_t token = target.find("skiptoken=");
    if (target.ends_with("metadata")) {
      SendAll(fd, metadata);
    } else {
      SendAll(fd, pages.Answer(token == std::string_view::npos
                                   ? 0
                                   : std::stoull(std::string(target.substr(token + 10))),
                               rows, port));
    }
    ::close(fd);
  }
}

void Run(const std::string& url, uint64_t rows) {
  const RealClock clock;
  OutboundClient outbound(
      {.allow_hosts = {"127.0.0.1"}, .allow_private = {"127.0.0.1"}, .ca_file = ""}, clock);
  SourceContext context;
  context.org = *OrgId::Parse("acme");
  context.stream = "accounts";
  context.settings.set_name("bench");
  context.settings.set_kind("odata");
  context.settings.set_url(url);
  context.settings.set_all_entities(true);
  const double mib = static_cast<double>(Pages().bytes()) / (1 << 20) * static_cast<double>(rows) /
                     static_cast<double>(kPageRows);

  auto client = ODataClient::Create(outbound, clock, context.settings, {}, {}, {});
  Must(client.status());
  const Stopwatch fetching;
  uint64_t read = 0;
  auto page_url = Url::Parse(url + "accounts");
  for (;;) {
    const auto page = (*client)->GetPage(*page_url, {}, [&](std::string_view, bool) {
      ++read;
      return absl::OkStatus();
    });
    Must(page.status());
    if (!page->end.next_link.has_value()) {
      break;
    }
    page_url = Url::Parse(*page->end.next_link);
  }
  fetching.Print("pages, cut into rows", "row", read, mib);

  EventSink sink;
  const auto connector = MakeODataConnector(outbound, clock, nullptr);
  const Stopwatch loading;
  Must(connector->Run(context, sink));
  loading.Print("load, into events of sets", "row", sink.ops, mib);
  fmt::print("{} rows, {:.0f} bytes of JSON and {} of an event each\n", sink.ops - 1,
             mib * (1 << 20) / static_cast<double>(rows), sink.bytes / sink.ops);
}

}  // namespace
}  // namespace sluice::gateways

int main(int argc, char** argv) {
  const uint64_t asked = argc > 1 ? std::stoull(argv[1]) : 200'000;
  const uint64_t rows = std::max<uint64_t>(asked / 5'000, 1) * 5'000;
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  if (::bind(listener, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      ::listen(listener, 16) != 0 ||
      ::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    return 1;
  }
  const int port = ntohs(address.sin_port);
  const pid_t server = ::fork();
  if (server == 0) {
    sluice::gateways::Serve(listener, port, rows);
  }
  ::close(listener);
  sluice::gateways::Run(fmt::format("http://127.0.0.1:{}/s/", port), rows);
  ::kill(server, SIGKILL);
  ::waitpid(server, nullptr, 0);
  return 0;
}
