#include "gateways/odata/csdl.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "schemas/base/status.h"
#include "tests/unit/gateways/odata/golden_metadata.h"

namespace sluice::gateways {
namespace {

using testing::GoldenCsdl;
using testing::GoldenText;
using ::testing::HasSubstr;

constexpr char kOpen[] =
    R"(<edmx:Edmx xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx" Version="4.0"><edmx:DataServices>)"
    R"(<Schema xmlns="http://docs.oasis-open.org/odata/ns/edm" Namespace="s">)";
constexpr char kClose[] = "</Schema></edmx:DataServices></edmx:Edmx>";

absl::StatusOr<Csdl> ReadXml(std::string_view text, size_t piece = 1 << 20) {
  CsdlXmlReader reader;
  for (; !text.empty(); text.remove_prefix(std::min(piece, text.size()))) {
    RETURN_IF_ERROR(reader.Feed(text.substr(0, piece)));
  }
  return reader.Finish();
}

std::string Refusal(const absl::StatusOr<Csdl>& csdl) {
  EXPECT_EQ(csdl.ok() ? "ok" : ErrorCode(csdl.status()), "metadata_invalid");
  return csdl.ok() ? "" : std::string(Message(csdl.status()));
}

TEST(CsdlXmlTest, Dataverse) {
  const Csdl csdl = GoldenCsdl("dataverse.xml");
  EXPECT_EQ(csdl.sets.size(), 4U);
  EXPECT_EQ(csdl.Qualified("mscrm.account"), "Microsoft.Dynamics.CRM.account");
  EXPECT_EQ(csdl.Qualified("Edm.String"), "Edm.String");
  EXPECT_EQ(csdl.Qualified("plain"), "plain");
  const CsdlStructure& account = csdl.structures.at("Microsoft.Dynamics.CRM.account");
  EXPECT_TRUE(account.is_entity);
  EXPECT_FALSE(account.is_abstract);
  EXPECT_EQ(account.base, "mscrm.crmbaseentity");
  ASSERT_EQ(account.key.size(), 1U);
  EXPECT_EQ(account.key[0].path, "accountid");
  EXPECT_EQ(account.properties.size(), 14U);
  EXPECT_EQ(account.properties[3].precision, 23U);
  ASSERT_EQ(account.navigations.size(), 4U);
  EXPECT_EQ(account.navigations[0].constraints.at(0).referenced, "contactid");
  EXPECT_TRUE(account.navigations[3].collection);
  EXPECT_EQ(account.navigations[3].type, "mscrm.contact");
  EXPECT_EQ(csdl.sets[0].bindings.at("primarycontactid"), "contacts");
  EXPECT_TRUE(csdl.structures.at("Microsoft.Dynamics.CRM.crmbaseentity").is_abstract);
  EXPECT_FALSE(csdl.structures.at("Microsoft.Dynamics.CRM.WhoAmIResponse").is_entity);
}

TEST(CsdlXmlTest, Sap) {
  const Csdl csdl = GoldenCsdl("sap.xml");
  EXPECT_EQ(csdl.Qualified("SAP__common.X"), "com.sap.vocabularies.Common.v1.X");
  const CsdlStructure& item = csdl.structures.at(csdl.Qualified("SAP__self.SalesOrderItemType"));
  EXPECT_EQ(item.key.size(), 3U);
  EXPECT_TRUE(item.properties.back().collection);
  EXPECT_EQ(item.properties.back().type, "SAP__self.SAP__Message");
  EXPECT_EQ(csdl.definitions.at(csdl.Qualified("SAP__self.UnitCode")).underlying, "Edm.String");
}

TEST(CsdlXmlTest, TripPin) {
  const Csdl csdl = GoldenCsdl("trippin.xml");
  EXPECT_EQ(csdl.sets.size(), 5U) << "the singleton is none";
  const CsdlEnum& gender = csdl.enums.at("Trippin.PersonGender");
  EXPECT_FALSE(gender.is_flags);
  EXPECT_EQ(gender.members.at(1), (std::pair<std::string, int64_t>("Female", 1)));
  EXPECT_TRUE(csdl.enums.at("Trippin.Feature").is_flags);
  EXPECT_EQ(csdl.structures.at("Trippin.Airport").key.at(0).alias, "Icao");
}

TEST(CsdlXmlTest, PiecesOfAnySizeAreTheSame) {
  for (const char* name : {"dataverse.xml", "sap.xml", "trippin.xml"}) {
    const std::string text = GoldenText(name);
    const auto whole = ReadXml(text);
    const auto bytes = ReadXml(text, 1);
    ASSERT_TRUE(whole.ok() && bytes.ok()) << name;
    EXPECT_EQ(testing::Describe(MapEntities(*whole, {})),
              testing::Describe(MapEntities(*bytes, {})));
  }
}

TEST(CsdlXmlTest, EveryCutIsNoticed) {
  const std::string text = GoldenText("sap.xml");
  for (size_t size = 0; size < text.rfind("</edmx:Edmx>") + 11; size += 7) {
    Refusal(ReadXml(std::string_view(text).substr(0, size)));
  }
}

TEST(CsdlXmlTest, MembersWithoutValuesCount) {
  const auto csdl = ReadXml(fmt::format(
      R"({}<EnumType Name="E"><Member Name="a"/><Member Name="b" Value="9223372036854775807"/>)"
      R"(<Member Name="c"/></EnumType>{})",
      kOpen, kClose));
  ASSERT_TRUE(csdl.ok()) << csdl.status();
  const auto& members = csdl->enums.at("s.E").members;
  EXPECT_EQ(members.at(0).second, 0);
  EXPECT_EQ(members.at(2).second, INT64_MIN) << "wraps, and harms nobody";
}

TEST(CsdlXmlTest, Doctype) {
  for (const char* text :
       {"<!DOCTYPE html><html><body>Sign in</body></html>",
        "<?xml version=\"1.0\"?><!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><a>&x;</a>",
        "<!DOCTYPE a [<!ENTITY x \"xxxxxxxx\"><!ENTITY y \"&x;&x;&x;\">]><a>&y;</a>"}) {
    EXPECT_THAT(Refusal(ReadXml(text)), HasSubstr("document type")) << text;
  }
}

TEST(CsdlXmlTest, WhatIsNoMetadata) {
  EXPECT_THAT(Refusal(ReadXml("")), HasSubstr("no XML"));
  EXPECT_THAT(Refusal(ReadXml("{\"$Version\":\"4.01\"}")), HasSubstr("no XML"));
  EXPECT_THAT(Refusal(ReadXml("<html><body/></html>")), HasSubstr("its first element is \"html\""));
  EXPECT_THAT(
      Refusal(ReadXml(
          R"(<e:Edmx xmlns:e="http://schemas.microsoft.com/ado/2007/06/edmx" Version="1.0"/>)")),
      HasSubstr("before 4.0"));
  EXPECT_THAT(Refusal(ReadXml(R"(<e:Edmx xmlns:e="http://docs.oasis-open.org/odata/ns/edmx"/>)")),
              HasSubstr("no DataServices"));
  EXPECT_THAT(Refusal(ReadXml(fmt::format("{}\n<EntityType/>{}", kOpen, kClose))),
              ::testing::AllOf(HasSubstr("line 2"), HasSubstr("lacks an attribute Name")));
  EXPECT_THAT(
      Refusal(ReadXml(fmt::format(
          R"({}<EnumType Name="E"><Member Name="a" Value="1x"/></EnumType>{})", kOpen, kClose))),
      HasSubstr("no number"));
  EXPECT_THAT(Refusal(ReadXml(std::string(kOpen) + "&nbsp;" + kClose)), HasSubstr("no XML"));
  std::string deep = kOpen;
  for (int i = 0; i < 100; ++i) {
    deep += "<a>";
  }
  EXPECT_THAT(Refusal(ReadXml(deep)), HasSubstr("nested deeper"));
}

TEST(CsdlXmlTest, Limits) {
  for (const char* start : {"<EntityType Name=\"", "<!--", ""}) {
    EXPECT_THAT(Refusal(ReadXml(kOpen + (start + std::string(size_t{2} << 20, 'x')))),
                HasSubstr("in one tag"));
  }
  std::string sets = std::string(kOpen) + "<EntityContainer Name='c'>";
  for (size_t i = 0; i <= kCsdlSetsMax; ++i) {
    sets += fmt::format("<EntitySet Name='x{}' EntityType='s.T'/>", i);
  }
  EXPECT_THAT(Refusal(ReadXml(sets)), HasSubstr("entity sets"));
  const std::string name(kCsdlNameBytesMax + 1, 'x');
  for (const char* element :
       {"<EntityType Name='{}'/>", "<EntityType Name='T' BaseType='{}'/>",
        "<EntityType Name='T'><Property Name='{}' Type='Edm.String'/></EntityType>",
        "<EnumType Name='E'><Member Name='{}'/></EnumType>",
        "<EntityContainer Name='c'><EntitySet Name='{}' EntityType='s.T'/></EntityContainer>"}) {
    const auto xml = [&](const std::string& text) {
      return kOpen + fmt::format(fmt::runtime(element), text) + kClose;
    };
    EXPECT_TRUE(ReadXml(xml("short")).ok()) << element;
    EXPECT_THAT(Refusal(ReadXml(xml(name))), HasSubstr("a name of more than")) << element;
  }
  EXPECT_THAT(Refusal(ParseCsdlJson(fmt::format(
                  R"({{"$Version":"4.0","s":{{"T":{{"$Kind":"EntityType","{}":{{}}}}}}}})", name))),
              HasSubstr("a name of more than"));
  CsdlCount count;
  EXPECT_TRUE(count.AddBytes(kCsdlBytesMax).ok());
  EXPECT_EQ(ErrorCode(count.AddBytes(1)), "metadata_invalid");
  for (size_t i = 0; i < kCsdlMembersMax; ++i) {
    ASSERT_TRUE(count.AddMember().ok());
  }
  EXPECT_EQ(ErrorCode(count.AddMember()), "metadata_invalid");
}

TEST(CsdlJsonTest, Shop) {
  const Csdl csdl = GoldenCsdl("shop.json");
  EXPECT_EQ(csdl.sets.size(), 2U);
  EXPECT_EQ(csdl.Qualified("self.Order"), "shop.Order");
  const CsdlStructure& customer = csdl.structures.at("shop.Customer");
  EXPECT_EQ(customer.properties.at(0).type, "Edm.String") << "the default";
  EXPECT_TRUE(customer.properties.at(4).collection);
  const CsdlStructure& order = csdl.structures.at("shop.Order");
  ASSERT_EQ(order.key.size(), 2U);
  EXPECT_EQ(order.key[1].alias, "No");
  EXPECT_EQ(order.key[1].path, "Number/Value");
  ASSERT_EQ(order.navigations.size(), 2U);
  EXPECT_EQ(order.navigations[0].constraints.size(), 1U);
  EXPECT_EQ(csdl.enums.at("shop.Kind").members.size(), 2U);
  EXPECT_EQ(csdl.definitions.at("shop.Money").precision, 12U);
  EXPECT_EQ(csdl.sets[1].bindings.at("Customer"), "Customers");
}

TEST(CsdlJsonTest, WhatIsNoMetadata) {
  for (const char* text :
       {"", "[]", "{", "<edmx/>", "{}", R"({"$Version":"3.0"})", R"({"$Version":4})",
        R"({"$Version":"4.0","s":{"T":{"$Kind":"EntityType","$Key":[1]}}})",
        R"({"$Version":"4.0","s":{"T":{"$Kind":"EntityType","$Key":[{"a":1}]}}})"}) {
    Refusal(ParseCsdlJson(text));
  }
  std::string deep = R"({"$Version":"4.0","a":)";
  EXPECT_THAT(Refusal(ParseCsdlJson(deep + std::string(100, '[') + std::string(100, ']') + "}")),
              HasSubstr("no JSON"));
}

}  // namespace
}  // namespace sluice::gateways
