# Needs: pip install grpcio grpcio-tools. Typed in the folder of the clone.
import sys

import grpc

sys.path.append("proto")
pb, services = grpc.protos_and_services("herd/v1/locations.proto")
bailey = services.LocationsStub(grpc.insecure_channel("127.0.0.1:50051"))
# Answered when both of Bailey's friends have it as well, of whom Campbell is one.
position = {"latitude": -43.53, "longitude": 172.63}
bailey.Report(pb.ReportRequest(client_id="moa", position=position, min_peers=2))
campbell = services.LocationsStub(grpc.insecure_channel("127.0.0.1:50053"))
moa = campbell.Get(pb.GetRequest(client_id="moa"), timeout=5).location
print(f"moa is at {moa.position.latitude}, {moa.position.longitude}, as {moa.origin} was told")
