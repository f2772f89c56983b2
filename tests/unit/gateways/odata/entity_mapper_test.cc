#include "gateways/odata/entity_mapper.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "schemas/base/status.h"
#include "tests/unit/gateways/odata/golden_metadata.h"

namespace sluice::gateways {
namespace {

using testing::Describe;
using testing::GoldenCsdl;

// An entity type with a key and these properties.
Csdl With(std::vector<CsdlProperty> properties) {
  Csdl csdl;
  CsdlStructure& type = csdl.structures["s.T"];
  type.is_entity = true;
  type.key = {{"ID", ""}};
  type.properties = {{"ID", "Edm.String", false, std::nullopt}};
  type.properties.insert(type.properties.end(), properties.begin(), properties.end());
  csdl.sets = {{"T", "s.T", {}}};
  return csdl;
}

TEST(EntityMapperTest, Dataverse) {
  EXPECT_EQ(Describe(MapEntities(GoldenCsdl("dataverse.xml"), {})), R"(accounts accounts (accountid)
  accountid uuid
  name string
  revenue decimal
  exchangerate decimal
  address1_latitude double
  creditonhold bool
  statecode int32
  versionnumber int64
  modifiedon datetime
  lastusedincampaign date
  entityimage bytes
  _primarycontactid_value uuid -> contacts
  _parentaccountid_value uuid -> accounts
  _ownerid_value uuid
contacts contacts (contactid)
  contactid uuid
  fullname string
  birthdate date
  _parentcustomerid_value uuid
  _masterid_value uuid -> contacts
- audits no_key
- bases abstract_type
)") << "an owner is no entity here, and a customer is one of two";
}

TEST(EntityMapperTest, Sap) {
  EXPECT_EQ(Describe(MapEntities(GoldenCsdl("sap.xml"), {})),
            R"(SalesOrderItem SalesOrderItem (_key)
  SalesOrder string -> SalesOrder
  SalesOrderItem string
  IsActiveEntity bool
  OrderQuantity decimal
  RequestedDeliveryDate date
  CreationTime time
  LastChangeDateTime datetime
  _key string
  - ExactAmount precision_too_large
  - SAP__Messages collection
SalesOrder SalesOrder (SalesOrder)
  SalesOrder string
  _key string
  Duration string
  Unit string
)");
}

TEST(EntityMapperTest, TripPin) {
  EXPECT_EQ(Describe(MapEntities(GoldenCsdl("trippin.xml"), {})), R"(People People (UserName)
  UserName string
  Gender string
  Age int64
  HomeAddress_Address string
  HomeAddress_City_Name string
  HomeAddress_City_CountryRegion string
  Features string
  Gr__e double
  - Emails collection
  - HomeAddress/City/Twin/Name too_deep
  - HomeAddress/City/Twin/CountryRegion too_deep
  - HomeAddress/City/Twin/Twin too_deep
  - HomeAddress_Address name_taken
  - Photo type_unsupported
  - Mystery type_unknown
Employees Employees (UserName)
  UserName string
  Gender string
  Age int64
  HomeAddress_Address string
  HomeAddress_City_Name string
  HomeAddress_City_CountryRegion string
  Features string
  Gr__e double
  Cost decimal
  - Emails collection
  - HomeAddress/City/Twin/Name too_deep
  - HomeAddress/City/Twin/CountryRegion too_deep
  - HomeAddress/City/Twin/Twin too_deep
  - HomeAddress_Address name_taken
  - Photo type_unsupported
  - Mystery type_unknown
Airports Airports (Codes_Icao)
  Codes_Icao string
  Codes_Iata string
  Location_Address string
  Location_City_Name string
  Location_City_CountryRegion string
  - Location/City/Twin/Name too_deep
  - Location/City/Twin/CountryRegion too_deep
  - Location/City/Twin/Twin too_deep
  - Location/Loc type_unsupported
- Trips key_unsupported
- Ghosts type_unknown
)");
}

TEST(EntityMapperTest, ShopInJson) {
  const EntityMapping mapping = MapEntities(GoldenCsdl("shop.json"), {});
  EXPECT_EQ(Describe(mapping), R"(Customers Customers (ID)
  ID int64
  Name string
  Born date
  Kind string
  Address_Street string
  Address_Zip int32
  Balance decimal
  - Tags collection
Orders Orders (_key)
  Year int32
  Number_Value uuid
  CustomerID int64 -> Customers
  _key string
)");
  const MappedEntity& order = mapping.entities.at(1);
  EXPECT_EQ(order.select, (std::vector<std::string>{"Year", "Number", "CustomerID"}));
  EXPECT_TRUE(order.key_is_composed);
  EXPECT_EQ(order.key.at(1).name, "No");
  EXPECT_EQ(order.columns.at(order.key[1].column).attribute, "Number_Value");
}

TEST(EntityMapperTest, WhatIsAskedForAlone) {
  const Csdl csdl = GoldenCsdl("dataverse.xml");
  const std::vector<WantedEntity> wanted = {
      {"account", "accounts", {"name", "_primarycontactid_value", "fax"}},
      {"person", "contacts", {"fullname"}},
      {"person", "accounts", {}},
      {"leads", "", {}},
      {"no name", "accounts", {}}};
  const EntityMapping mapping = MapEntities(csdl, wanted);
  EXPECT_EQ(Describe(mapping), R"(accounts account (accountid)
  accountid uuid
  name string
  _primarycontactid_value uuid -> person
  - fax not_in_source
contacts person (contactid)
  contactid uuid
  fullname string
- person name_taken
- leads not_in_source
- no name invalid_name
)");
  EXPECT_EQ(mapping.entities.at(0).select,
            (std::vector<std::string>{"accountid", "name", "_primarycontactid_value"}));
}

TEST(EntityMapperTest, Names) {
  const EntityMapping mapping =
      MapEntities(With({{"1st", "Edm.Int32", false, std::nullopt},
                        {"a.b-c", "Edm.Int32", false, std::nullopt},
                        {"a_b_c", "Edm.Int32", false, std::nullopt},
                        {std::string(129, 'x'), "Edm.Int32", false, std::nullopt},
                        {"", "Edm.Int32", false, std::nullopt}}),
                  {});
  EXPECT_EQ(Describe(mapping), fmt::format(R"(T T (ID)
  ID string
  _1st int32
  a_b_c int32
  - a_b_c name_taken
  - {} invalid_name
  -  invalid_name
)",
                                           std::string(129, 'x')));
}

TEST(EntityMapperTest, TypesThatLeadNowhere) {
  Csdl csdl = With({{"Loop", "s.Loop", false, std::nullopt},
                    {"Defined", "s.Defined", false, std::nullopt},
                    {"Wide", "s.Wide", false, std::nullopt},
                    {"Entity", "s.T", false, std::nullopt}});
  csdl.structures["s.Loop"].base = "s.Loop";
  csdl.definitions["s.Defined"] = {"s.Defined", std::nullopt};
  csdl.definitions["s.Wide"] = {"Edm.Decimal", 39};
  EXPECT_EQ(Describe(MapEntities(csdl, {})), R"(T T (ID)
  ID string
  - Loop base_type_invalid
  - Defined type_unknown
  - Wide precision_too_large
  - Entity type_unknown
)");
  csdl.sets[0].type = "";
  EXPECT_EQ(Describe(MapEntities(csdl, {})), "- T type_unknown\n");
  csdl.sets[0].type = "s.T";
  csdl.structures["s.T"].base = "s.Absent";
  EXPECT_EQ(Describe(MapEntities(csdl, {})), "- T type_unknown\n");
  csdl.structures["s.T"].base = "s.T";
  EXPECT_EQ(Describe(MapEntities(csdl, {})), "- T base_type_invalid\n");
}

TEST(EntityMapperTest, TooManyAttributes) {
  std::vector<CsdlProperty> properties;
  for (int i = 1; i < schemas::kAttributesMax; ++i) {
    properties.push_back({fmt::format("p{}", i), "Edm.Int32", false, std::nullopt});
  }
  Csdl csdl = With(properties);
  EXPECT_EQ(MapEntities(csdl, {}).entities.at(0).columns.size(), 1'000U);
  csdl.structures["s.T"].key.push_back({"p1", ""});
  EXPECT_EQ(Describe(MapEntities(csdl, {})), "- T too_many_attributes\n")
      << "with the composed key";
  csdl.structures["s.T"].key.pop_back();
  csdl.structures["s.T"].properties.push_back({"more", "Edm.Int32", false, std::nullopt});
  EXPECT_EQ(Describe(MapEntities(csdl, {})), "- T too_many_attributes\n");

  // A type within itself many times over: what is looked at is bounded, too.
  Csdl wide = With({{"A", "s.C", false, std::nullopt}});
  for (int i = 0; i < 1'000; ++i) {
    wide.structures["s.C"].properties.push_back(
        {fmt::format("c{}", i), "s.C", false, std::nullopt});
  }
  EXPECT_EQ(Describe(MapEntities(wide, {})), "- T too_many_attributes\n");
}

TEST(EntityMapperTest, AnEnumerationIsBounded) {
  Csdl csdl = With({{"A", "s.E", false, std::nullopt}});
  for (int64_t value = 1; value <= 10'000; ++value) {
    csdl.enums["s.E"].members.emplace_back(fmt::format("m{}", value), value);
  }
  EXPECT_TRUE(MapEntities(csdl, {}).entities.at(0).refused.empty());
  csdl.enums["s.E"].members.emplace_back("more", 0);
  EXPECT_EQ(MapEntities(csdl, {}).entities.at(0).refused.at(0).code, "type_unsupported");
}

TEST(EntityMapperTest, AllEntitiesTogetherAreBounded) {
  Csdl csdl = With({{"A", "Edm.String", false, std::nullopt}});
  csdl.sets.push_back({"U", "s.T", {}});
  csdl.sets.push_back({"V", "s.T", {}});
  EXPECT_FALSE(MapEntities(csdl, {}).cut);
  const EntityMapping mapping = MapEntities(csdl, {}, 3);
  EXPECT_TRUE(mapping.cut);
  ASSERT_EQ(mapping.entities.size(), 2U);
  ASSERT_EQ(mapping.refused.size(), 1U);
  EXPECT_EQ(mapping.refused[0].name, "V");
  EXPECT_EQ(mapping.refused[0].code, "too_many_attributes");

  std::vector<CsdlProperty> bad;
  for (int i = 0; i < 900; ++i) {
    bad.push_back({fmt::format("p{}", i), "Edm.Stream", false, std::nullopt});
  }
  csdl = With(std::move(bad));
  for (int i = 0; i < 20; ++i) {
    csdl.sets.push_back({fmt::format("S{}", i), "s.T", {}});
  }
  size_t refused = 0;
  for (const MappedEntity& entity : MapEntities(csdl, {}).entities) {
    refused += entity.refused.size();
  }
  EXPECT_EQ(refused, kMappingRefusalsMax);
}

TEST(EntityMapperTest, AComposedKeysNameIsFree) {
  Csdl csdl = With({{"_key", "Edm.Int32", false, std::nullopt}});
  csdl.structures["s.T"].key.push_back({"_key", ""});
  EXPECT_EQ(MapEntities(csdl, {}).entities.at(0).definition.primary_key(), "_key_");
}

}  // namespace
}  // namespace sluice::gateways
